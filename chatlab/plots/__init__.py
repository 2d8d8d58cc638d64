"""Figures of results: the only room that knows matplotlib; it takes plain values and imports no other room."""

from chatlab.plots.drawing import Drawing as Drawing
from chatlab.plots.drawing import plot_counts as plot_counts
from chatlab.plots.echo import plot_causes as plot_causes
from chatlab.plots.echo import plot_drift_by_turn as plot_drift_by_turn
from chatlab.plots.echo import plot_echo as plot_echo
from chatlab.plots.echo import plot_wrong_replies as plot_wrong_replies
from chatlab.plots.replies import plot_buffer_trace as plot_buffer_trace
from chatlab.plots.replies import plot_logprobs as plot_logprobs
from chatlab.plots.replies import plot_messages as plot_messages
from chatlab.plots.replies import plot_reply_time as plot_reply_time
from chatlab.plots.replies import plot_steps as plot_steps
from chatlab.plots.revisions import plot_echo_families as plot_echo_families
from chatlab.plots.revisions import plot_probe_changes as plot_probe_changes
from chatlab.plots.revisions import plot_severities as plot_severities
from chatlab.plots.revisions import plot_stretches as plot_stretches
from chatlab.plots.revisions import plot_version_matrix as plot_version_matrix
from chatlab.plots.turns import plot_turn_causes as plot_turn_causes
from chatlab.plots.turns import plot_turns as plot_turns
