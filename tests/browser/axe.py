"""How axe-core is run in a page."""

from __future__ import annotations

RUN_AXE = """async (selectors) => {
  const found = await axe.run({ include: selectors.map((selector) => [selector]) }, { resultTypes: ["violations"] });
  return found.violations.map((v) => v.id + ": " + v.nodes.map((n) => n.target.join(" ") + " " + n.failureSummary).join("; "));
}"""
