"""Every place where a chat template can stand counts, and what no probe reaches is told as that."""

from __future__ import annotations

import json

import pytest

from chatlab.embedded import tokenizer_path
from chatlab.locks.check import check
from chatlab.locks.lock import lock
from chatlab.revisions.compare import compare_revisions
from chatlab.revisions.differences.templates import same_meaning, template_variables
from chatlab.revisions.kinds import ChangeKind
from chatlab.severity import Severity
from chatlab.snapshots.snapshot import take
from tests.support.injections import copy_of, setting, write

BASE = "phi3-style/before"
TEMPLATE = json.loads((tokenizer_path(BASE) / "tokenizer_config.json").read_text())["chat_template"]
RAISES = "{{ raise_exception('no') }}"


def named(folder, template):
    rows = [{"name": "default", "template": TEMPLATE}, {"name": "rag", "template": template}]
    setting("tokenizer_config.json", "chat_template", to=rows)(folder)


def mapped(folder, template):
    setting("tokenizer_config.json", "chat_template", to={"default": TEMPLATE, "rag": template})(folder)


def beside(folder, template):
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    (folder / "additional_chat_templates").mkdir(exist_ok=True)
    (folder / "additional_chat_templates" / "rag.jinja").write_text(template)


def processors(folder, template):
    write(folder, "chat_template.json", {"chat_template": template})


def shadowed(folder, template):
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    setting("tokenizer_config.json", "chat_template", to=template)(folder)


PLACES = {"list": named, "additional": beside, "processor": processors, "shadowed": shadowed}


def pair(tmp_path, place, before, after):
    folders = []
    for name, template in (("before", before), ("after", after)):
        folder = copy_of(BASE, tmp_path / name)
        place(folder, template)
        folders.append(folder)
    return folders


@pytest.mark.parametrize("after", [RAISES, TEMPLATE + "{{ 'more' }}", "{% for x in %}"])
@pytest.mark.parametrize("place", PLACES)
def test_a_template_is_judged_wherever_it_stands_by_compare_and_check_alike(tmp_path, place, after):
    before, changed = pair(tmp_path, PLACES[place], TEMPLATE, after)
    c = compare_revisions(before, changed, loader="auto")
    assert c.kinds[0] is ChangeKind.CHAT_TEMPLATE
    assert c.severity >= Severity.MAJOR_LATENT
    assert place in ("processor", "shadowed") or "'rag'" in c.verdict
    path = tmp_path / "chatlab.lock"
    lock("t", before, path=path)
    for file in sorted(changed.rglob("*.j*")):
        (before / file.relative_to(changed)).write_bytes(file.read_bytes())
    (result,) = check(path=path)
    assert result.exit_code == c.exit_code


def test_a_template_of_another_name_that_comes_breaks_nobody_who_does_not_name_it(tmp_path):
    folder = copy_of(BASE, tmp_path / "t")
    named(folder, TEMPLATE)
    c = compare_revisions(tokenizer_path(BASE), folder, loader="auto")
    assert c.severity is Severity.MAJOR_LATENT
    assert "'rag' came" in c.verdict


@pytest.mark.parametrize("extra", ["{% generation %}{{ 1 }}{% endgeneration %}", "{% break %}", "{{ dict(a=1) }}"])
def test_templates_are_parsed_as_transformers_parses_them(extra):
    text = "{% for m in messages %}{{ m.content }}" + extra + "{% endfor %}"
    assert template_variables(text) == {"messages"}
    assert same_meaning(text, "{# a comment #}" + text)
    assert not same_meaning(text, text + "!")


def test_a_change_that_no_probe_reaches_says_so_and_where(tmp_path):
    folder = copy_of(BASE, tmp_path / "t")
    setting(
        "tokenizer_config.json", "chat_template", to=lambda t: t + "{% if moon_phase %}{{ moon_phase }}{% endif %}"
    )(folder)
    c = compare_revisions(tokenizer_path(BASE), folder, loader="auto")
    assert c.severity is Severity.MAJOR_LATENT
    assert "no probe reaches" in c.verdict
    assert any("no probe goes through line" in line for line in c.findings[0].evidence)


@pytest.mark.parametrize("where", [0, 1])
@pytest.mark.parametrize("comment", ["{# <|end|> <|system|> #}", "{# </s> #}", "{# <|assistant|><|assistant|> #}"])
def test_a_comment_that_names_a_token_changes_no_probe(tmp_path, comment, where):
    """The token that a user types in a probe is one and the same on both sides."""
    folders = [copy_of(BASE, tmp_path / name) for name in ("one", "two")]
    setting("tokenizer_config.json", "chat_template", to=lambda t: comment + t)(folders[where])
    c = compare_revisions(*folders, loader="auto")
    assert (c.kinds, c.severity) == ((ChangeKind.CHAT_TEMPLATE,), Severity.MINOR)
    assert all(row.same for row in c.renders)


def test_one_token_is_injected_on_both_sides(tmp_path):
    """Also where each template writes another one most often."""
    folder = copy_of(BASE, tmp_path / "t")
    swapped = "{% for m in messages %}</s>{{ m.content }}</s>{% endfor %}"
    setting("tokenizer_config.json", "chat_template", to=swapped)(folder)
    alone = [take(source, ["auto"]).record["injected"] for source in (tokenizer_path(BASE), folder)]
    c = compare_revisions(tokenizer_path(BASE), folder, loader="auto")
    assert alone[0] != alone[1]
    assert len({s.record["injected"] for s in c.snapshots}) == 1


@pytest.mark.parametrize(
    ("added", "told"), [("{{ [1, 2, 3] | random }}", "not the same twice"), ("{{ strftime_now('%Y') }}", "by the day")]
)
def test_a_template_that_moves_is_named_by_compare_and_check(tmp_path, added, told):
    folder = copy_of(BASE, tmp_path / "t")
    setting("tokenizer_config.json", "chat_template", to=lambda t: added + t)(folder)
    lock("t", folder, path=tmp_path / "chatlab.lock")
    (result,) = check(path=tmp_path / "chatlab.lock")
    assert any(told in line for line in result.lines)
    assert result.exit_code == 0
    c = compare_revisions(tokenizer_path(BASE), folder, loader="auto")
    assert any(told in note for note in c.notes)


def test_a_template_of_chance_is_rendered_anew_at_each_check(tmp_path, monkeypatch):
    folder = copy_of(BASE, tmp_path / "t")
    setting("tokenizer_config.json", "chat_template", to=lambda t: "{{ [1, 2] | random }}" + t)(folder)
    lock("t", folder, path=tmp_path / "chatlab.lock")
    asked = []
    monkeypatch.setattr("chatlab.locks.check.take", lambda *a, **k: asked.append(k.get("cache", True)) or take(*a, **k))
    check(path=tmp_path / "chatlab.lock")
    assert asked[-1] is False
