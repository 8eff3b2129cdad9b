"""What can be wrong with a set of images: the kinds of findings, and what a check found, as values."""

from dataclasses import dataclass
from typing import Any

from lenext.data.decode import MAX_PIXELS, MAX_SIDE

_EXAMPLES = 6

ERROR, WARNING = "error", "warning"  # error: training refuses it, or scores would be wrong

# fmt: off
KINDS = {
    # kind:                          (severity, what it means and what to do)
    "unusable":                      (ERROR,   ""),  # these five are worded where they are found, in listing.py
    "no labels":                     (ERROR,   ""),
    "only one class":                (ERROR,   ""),
    "no train split":                (ERROR,   ""),
    "empty class folder":            (ERROR,   ""),
    "class not in train":            (ERROR,   ""),
    "empty file":                    (ERROR,   "0 bytes: get the file again, or remove it"),
    "truncated":                     (ERROR,   "the end of the file is missing: get it again, or remove it"),
    "broken":                        (ERROR,   "cannot be decoded to its end: get the file again, or remove it"),
    "not an image":                  (ERROR,   "another kind of file under the name of an image: remove it"),
    "bomb":                          (ERROR,   f"over {MAX_PIXELS:,} pixels, or {MAX_SIDE:,} a side: scale it down"),
    "unreadable":                    (ERROR,   "cannot be read: see to its permissions or where its link leads"),
    "same image in two splits":      (ERROR,   "the score would count what was trained on: keep one copy"),
    "same image in two classes":     (ERROR,   "the same pixels under different labels: keep the right one"),
    "near duplicates in two splits": (WARNING, "look the same, in two splits: look, and keep one copy"),
    "near duplicates in two classes": (WARNING, "look the same, under different labels: look, and keep one"),
    "group in two splits":           (ERROR,   ""),
    "exact duplicates":              (WARNING, "the same bytes in several files, which weigh double: keep one"),
    "same pixels":                   (WARNING, "several files that decode to the same pixels: keep one"),
    "near duplicates":               (WARNING, "re-encoded, rescaled, brightened or slightly cropped copies: keep one"),
    "misnamed":                      (WARNING, "the format is not that of the suffix; decoded by content: rename it"),
    "tiny":                          (WARNING, "a side under 16 pixels, in a set of larger images: enlarged to train"),
    "odd size":                      (WARNING, "the shorter side is over 8 times larger or smaller than most"),
    "odd shape":                     (WARNING, "more than 4 times as long as wide: a square crop shows a quarter"),
    "CMYK":                          (WARNING, "colours of a printer: decoded to RGB without their profile"),
    "16-bit":                        (WARNING, "decoded to 8 bits: differences under 1/255 of the range are lost"),
    "alpha channel":                 (WARNING, "decoded on white wherever it is transparent"),
    "palette":                       (WARNING, "at most 256 colours: decoded to RGB as they are"),
    "animated":                      (WARNING, "several pictures or pages: only the first counts"),
    "grey among colour":             (WARNING, "decoded to three equal channels: a class may be told by that"),
    "colour among grey":             (WARNING, "if it is one class, a network learns the colour"),
    "class missing in a split":      (WARNING, ""),
    "imbalance":                     (WARNING, ""),
    "few images":                    (WARNING, ""),
}
# fmt: on


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One kind of thing that was found.

    severity: "error" or "warning". text: what it means and what to do. items: the files, as shown; those that belong
    together (copies of one image) in one tuple. A finding about classes has none.
    """

    kind: str
    severity: str
    text: str
    items: tuple[tuple[str, ...], ...] = ()

    @property
    def count(self) -> int:
        """Files, or groups of them; 1 of a finding without files."""
        return max(1, len(self.items))

    @property
    def sign(self) -> str:
        """What to write between the files of a group: they are equal, or alike."""
        return "~" if self.kind.startswith("near") else "="

    def to_mapping(self) -> dict[str, Any]:
        """What a run's data.json keeps: kind, severity, count, text, and a few of the files."""
        examples = [f" {self.sign} ".join(group) for group in self.items[:_EXAMPLES]]
        return {
            "kind": self.kind, "severity": self.severity, "count": self.count, "text": self.text, "examples": examples
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was found of a set. scored: files that were decoded whole; scored + refused = listed."""

    description: str
    listed: int
    scored: int
    refused: int
    ignored: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def has_errors(self) -> bool:
        """Whether training would refuse the set, or its scores would be wrong."""
        return any(finding.severity == ERROR for finding in self.findings)

    def to_mapping(self) -> dict[str, Any]:
        """All of it as plain values, every file included."""
        findings = [{**one.to_mapping(), "items": [list(group) for group in one.items]} for one in self.findings]
        for one in findings:
            del one["examples"]
        return {
            "description": self.description, "listed": self.listed, "scored": self.scored, "refused": self.refused,
            "ignored": list(self.ignored), "findings": findings,
        }  # fmt: skip
