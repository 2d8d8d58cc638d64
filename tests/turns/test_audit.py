"""An audit finds nothing in a clean template, and of a fault that, and nothing beside it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import chatlab
from chatlab.cli import app
from chatlab.errors import TemplateError, TemplateSyntaxError, TokenizerLimitError
from chatlab.severity import Severity
from chatlab.turns.audit.against import TemplatePatch, audit_patch
from chatlab.turns.audit.audit import TemplateAudit
from chatlab.turns.audit.conversation import SHAPES
from chatlab.turns.audit.kinds import TOLD, Kind
from tests.support.clean_templates import CLEAN, FAULTS, PLAIN, THINKING, Fault
from tests.support.own_renders import SHOWN, is_shown, smaller
from tests.support.small_tokenizers import small_tokenizers


@pytest.fixture(scope="module")
def audits() -> dict[str, TemplateAudit]:
    """Each fault's audit, made once."""
    return {fault.name: chatlab.audit_template(fault.template) for fault in FAULTS}


def test_there_are_enough_shapes_and_faults() -> None:
    assert len(SHAPES) >= 12
    assert len(FAULTS) >= 14
    assert len({kind for fault in FAULTS for kind, _ in fault.named}) >= 14
    assert TOLD.keys() == set(Kind)


@pytest.mark.parametrize("name", CLEAN)
def test_nothing_is_found_in_a_clean_template(name: str) -> None:
    found = chatlab.audit_template(CLEAN[name])
    assert found.findings == ()
    assert found.exit_code == 0
    assert not found.unreached
    assert "Nothing is lost" in str(found)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_named_and_nothing_else(fault: Fault, audits: dict[str, TemplateAudit]) -> None:
    found = audits[fault.name].findings
    assert {(str(one.kind), one.word) for one in found} == fault.named
    assert len({one.key for one in found}) == len(found) <= len(fault.named) + 1


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_smallest_conversation_shows_it_and_no_message_can_go(
    fault: Fault, audits: dict[str, TemplateAudit]
) -> None:
    """By transformers' own environment, and without the checks of the audit."""
    for found in audits[fault.name].findings:
        if found.kind in SHOWN:
            assert is_shown(fault.template, found)
            assert not [one for one in smaller(found.messages) if _shows(fault.template, found, one)]


def _shows(template, found, messages) -> bool:
    try:
        return is_shown(template, found, messages)
    except (IndexError, KeyError):  # no reply is left
        return False


def test_a_cause_is_the_line_whose_change_undoes_it() -> None:
    lines = ["{% for message in messages %}", "{{ '<|im_start|>' + message.role + '\\n' }}",
             "{% if message.role == 'assistant' and message.reasoning_content %}{% if loop.last %}",
             "{{ '<think>' + message.reasoning_content + '</think>' }}", "{% endif %}{% endif %}",
             "{% if message.role == 'assistant' %}{{ message.content.strip() }}{% else %}{{ message.content }}{% endif %}",
             "{% for call in message.tool_calls or [] %}{{ call.function | tojson }}{% endfor %}",
             "{{ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"]  # fmt: skip
    found = {one.kind: one for one in chatlab.audit_template("\n".join(lines)).findings}
    assert found[Kind.REASONING_DROPPED].cause.startswith("line 3:")
    assert "were its test true" in found[Kind.REASONING_DROPPED].cause
    assert found[Kind.REPLY_TRIMMED].cause.startswith("line 6:")
    assert "without its `strip`" in found[Kind.REPLY_TRIMMED].cause


def test_a_switch_of_the_templates_own_is_the_cure() -> None:
    template = THINKING.replace(
        "(message.reasoning_content or '')",
        "(message.reasoning_content if message.reasoning_content and (loop.last or keep_thoughts) else '')",
    )
    (found,) = chatlab.audit_template(template).findings
    assert found.kind is Kind.REASONING_DROPPED
    assert "keep_thoughts=True" in found.cure


def test_who_is_hurt_and_whether_it_is_meant(audits: dict[str, TemplateAudit]) -> None:
    (dropped,) = audits["earlier thoughts are left out"].findings
    assert {"prefix cache", "on-policy training"} == set(dropped.hurts)
    assert dropped.by_design
    (mask,) = audits["the mask ends before the end token"].findings
    assert mask.hurts == ("SFT loss mask",)
    assert not mask.by_design
    assert audits["the date"].findings[0].severity is Severity.MINOR


def test_the_facts_of_a_template() -> None:
    facts = chatlab.audit_template(THINKING).facts
    assert facts.opening == "<|im_start|>assistant\n<think>\n"
    assert facts.end_token == "<|im_end|>"
    assert facts.reasoning
    assert facts.thinking == {"enable_thinking": "on"}


def test_an_audit_can_be_kept_and_shown_in_every_form(audits: dict[str, TemplateAudit]) -> None:
    for found in audits.values():
        assert TemplateAudit.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    found = audits["calls are not written"]
    assert "call dropped" in found.to_markdown()
    assert "call dropped" in found.page()
    assert list(found.to_frame()["kind"]) == ["call dropped"]
    assert found.figure()._repr_png_() if hasattr(found.figure(), "_repr_png_") else found.figure()


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.named], ids=lambda fault: fault.name)
def test_a_patch_that_undoes_a_fault_changes_what_it_claims(fault: Fault, audits: dict[str, TemplateAudit]) -> None:
    clean = chatlab.audit_template(CLEAN[fault.base])
    patch = TemplatePatch(before=audits[fault.name], after=clean)
    assert {(str(one.kind), one.word) for one in patch.gone} == fault.named
    assert not patch.came
    back = TemplatePatch(before=clean, after=audits[fault.name])
    assert back.exit_code == 1 or back.came[0].severity is Severity.INFO
    assert {(str(one.kind), one.word) for one in back.came} == fault.named


def test_a_patch_that_changes_more_is_told() -> None:
    fault = next(one for one in FAULTS if one.name == "a reply is trimmed")
    more = PLAIN.replace("'<|im_start|>tools\\n'", "'<|im_start|>tools, sorted\\n'")
    patch = audit_patch(fault.template, more)
    assert [str(one.kind) for one in patch.gone] == ["reply trimmed"]
    assert not patch.came
    assert set(patch.unnamed) == {name for name, shape in SHAPES.items() if shape.tools}
    assert patch.exit_code == 1
    assert TemplatePatch.from_dict(json.loads(json.dumps(patch.to_dict()))) == patch
    assert "Texts that change without a finding" in patch.to_markdown()
    same = audit_patch(PLAIN, PLAIN + "{# a remark #}")
    assert (same.exit_code, same.changed, "Nothing changes" in str(same)) == (0, (), True)


def test_what_is_no_template_is_told() -> None:
    with pytest.raises(TemplateSyntaxError, match="not Jinja"):
        chatlab.audit_template("{% for %}")
    with pytest.raises(TemplateError, match="carries no chat template"):
        chatlab.audit_template(small_tokenizers()["byte bpe"])


def test_a_template_without_end_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATLAB_CHILD_SECONDS", "1")
    with pytest.raises(TokenizerLimitError, match="processor time"):
        chatlab.audit_template("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}")


def test_the_command_tells_by_its_exit_code(tmp_path) -> None:
    (tmp_path / "clean.jinja").write_text(PLAIN)
    (tmp_path / "faulty.jinja").write_text(FAULTS[0].template)
    (tmp_path / "broken.jinja").write_text("{% for %}")

    def run(*words: str) -> tuple[int, str]:
        made = CliRunner().invoke(app, ["audit", *(str(tmp_path / w) if w.endswith(".jinja") else w for w in words)])
        return made.exit_code, made.output

    assert run("clean.jinja")[0] == 0
    code, told = run("faulty.jinja")
    assert code == 1
    assert told.index("findings over") < told.index("reply trimmed", told.index("findings over"))
    assert run("broken.jinja")[0] == 2
    assert run("absent.jinja")[0] == 2
    assert run("faulty.jinja", "--against", "clean.jinja")[0] == 0
    assert run("clean.jinja", "--against", "faulty.jinja")[0] == 1
    code, told = run("faulty.jinja", "--format", "markdown")
    assert (code, told.startswith("## ")) == (1, True)
    assert json.loads(run("faulty.jinja", "--format", "json")[1])["findings"][0]["kind"] == "reply trimmed"


def test_asking_for_the_name_loads_neither_torch_nor_transformers() -> None:
    code = "import chatlab, sys; chatlab.audit_template; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
