import dataclasses
import io
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from lenext import run as runs
from lenext.judge.metrics import measure
from lenext.judge.ranking import worst_mistakes
from lenext.predictions import Predictions
from lenext.reporting.page import HERE, write_report

from .conftest import CLASSES, save_evaluation

VOID = {"meta", "img", "br", "wbr", "path", "use", "rect"}
ALL_SECTIONS = ["curves", "confusion", "classes", "calibration", "mistakes", "data", "filters", "record"]
HOSTILE = ("<script>alert(1)</script>", "a\"b'c", "two\nlines", "a&b;<i>", "{{ 7 * 7 }}", *CLASSES[5:])


class Page(HTMLParser):
    """Elements in order, the text of each `<section>`, and proof that every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.placed: list[tuple[str, str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.section = "header"
        self.texts: dict[str, str] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "section":
            self.section = dict(attrs)["id"] or ""
        self.placed.append((self.section, tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts[self.section] = " ".join(f"{self.texts.get(self.section, '')} {data}".split())

    def ids(self) -> list[str]:
        return [attributes["id"] or "" for _, attributes in self.tags if "id" in attributes]

    def of(self, section: str, tag: str) -> list[dict[str, str | None]]:
        return [attributes for place, name, attributes in self.placed if (place, name) == (section, tag)]

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.tags if name == tag)


def page_of(run: Path) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


def test_report_of_an_evaluated_run_has_every_section_in_order(trained_page: Page) -> None:
    assert [attributes["id"] for attributes in trained_page.all("section")] == ALL_SECTIONS
    assert not trained_page.open
    assert len(trained_page.ids()) == len(set(trained_page.ids()))


def test_claim_tells_every_figure_of_the_files(trained: Path, trained_page: Page) -> None:
    metrics = json.loads((trained / "metrics-test.json").read_text(encoding="utf-8"))
    claim = trained_page.texts["header"]
    low, high = metrics["top1_interval"]
    assert f"mlp names {100 * metrics['top1']:.1f} % of the {metrics['n']} test images of digits correctly" in claim
    assert f"(95 % interval {100 * low:.1f} to {100 * high:.1f} %)" in claim
    assert "judged at the checkpoint with the best validation accuracy, that of epoch 8, after " in claim
    assert "the test split has been opened once." in claim
    assert f"NLL {metrics['nll']:.3f} " in claim
    assert f"ECE {100 * metrics['ece']:.1f} % " in claim
    assert "Parameters 1.81 k 1,810, 0.00724 MB as float32 MACs 1.78 k" in claim


def test_class_table_shows_the_metrics_file_lowest_recall_first(trained: Path, trained_page: Page) -> None:
    rows = json.loads((trained / "metrics-test.json").read_text(encoding="utf-8"))["per_class"]
    text, place = trained_page.texts["classes"], 0
    for row in sorted(rows, key=lambda row: row["recall"]):
        low, high = row["recall_interval"]
        line = f"{row['name']} {row['support']} {100 * row['recall']:.1f} % [{100 * low:.1f}, {100 * high:.1f}] "
        low, high = row["precision_interval"]
        line += f"{100 * row['precision']:.1f} % [{100 * low:.1f}, {100 * high:.1f}] "
        low, high = row["f1_interval"]
        line += f"{row['f1']:.3f} [{low:.3f}, {high:.3f}]"
        assert line in text[place:]
        place = text.index(line)


def test_confusion_table_shows_every_count_of_the_metrics_file(trained: Path, trained_page: Page) -> None:
    matrix = json.loads((trained / "metrics-test.json").read_text(encoding="utf-8"))["confusion"]
    shown = trained_page.texts["confusion"]
    for name, row in zip(CLASSES, matrix, strict=True):
        assert " ".join([name, *(str(images) for images in row if images)]) in shown


def test_most_confused_pair_is_told_in_words(trained: Path, trained_page: Page) -> None:
    matrix = np.array(json.loads((trained / "metrics-test.json").read_text(encoding="utf-8"))["confusion"])
    off = matrix - np.diag(matrix.diagonal())
    true, said = divmod(int(off.argmax()), 10)
    support = matrix[true].sum()
    told = f"{CLASSES[true]} taken for {CLASSES[said]} {off.max()} of {support}, {100 * off.max() / support:.1f} %"
    assert told in trained_page.texts["confusion"]


def test_each_mistake_shows_picture_true_class_said_class_probability_and_id(trained: Path, trained_page: Page) -> None:
    predictions = Predictions.load(trained / "predictions-test.npz")
    rows = worst_mistakes(predictions)
    images = [image["alt"] for image in trained_page.of("mistakes", "img")]
    assert len(images) == len(rows) >= 12
    for row, alt in zip(rows, images, strict=True):
        said, true = CLASSES[predictions.scores[row].argmax()], CLASSES[predictions.labels[row]]
        probability = 100 * predictions.probabilities()[row].max()
        assert alt == f"{true}, taken for {said}"
        assert (
            f"said {said} true {true} probability {probability:.1f} % {predictions.ids[row]}"
            in trained_page.texts["mistakes"]
        )


def test_every_cell_with_images_opens_its_panel_and_every_panel_closes(trained: Path, trained_page: Page) -> None:
    matrix = json.loads((trained / "metrics-test.json").read_text(encoding="utf-8"))["confusion"]
    filled = [f"cell-{row}-{column}" for row in range(10) for column in range(10) if matrix[row][column]]
    opening = [one["popovertarget"] for one in trained_page.all("button") if "popovertargetaction" not in one]
    closing = [one["popovertarget"] for one in trained_page.all("button") if "popovertargetaction" in one]
    named = [one["id"] for one in trained_page.all("div") if "popover" in one]
    assert opening[: len(filled)] == closing == named == filled
    assert set(opening[len(filled) :]) < set(filled)  # the most frequent confusions, told in words


def test_panel_tells_how_many_of_its_images_it_shows(trained: Path, trained_page: Page) -> None:
    matrix = json.loads((trained / "metrics-test.json").read_text(encoding="utf-8"))["confusion"]
    assert f"zero named rightly Close 12 of {matrix[0][0]} images, the surest first." in trained_page.texts["confusion"]
    assert " Close One image. " in trained_page.texts["confusion"]


def test_calibration_table_has_a_row_for_each_bin_that_holds_images(trained: Path, trained_page: Page) -> None:
    predictions = Predictions.load(trained / "predictions-test.npz")
    confidence = predictions.probabilities().max(axis=1)
    correct = predictions.scores.argmax(axis=1) == predictions.labels
    inside = (confidence > 6 / 15) & (confidence <= 7 / 15)
    row = f"40 to 47 % {inside.sum()} {100 * confidence[inside].mean():.1f} % {100 * correct[inside].mean():.1f} %"
    assert row in trained_page.texts["calibration"]


def test_data_are_told_with_their_split_findings_and_balance(trained_page: Page) -> None:
    text = trained_page.texts["data"]
    assert "1,797 images of 8 x 8 pixels Split Source digits Train 1,237 images Validation 200 images " in text
    assert "Test 360 images Test split opened once" in text
    assert "Left out 3 files in .ipynb_checkpoints" in text
    assert "Findings 2 exact duplicate Both are in train. 1 example 00017 = 00612" in text
    counts = [int((load_digits().target == k).sum()) for k in range(10)]
    for name, total in zip(CLASSES, counts, strict=True):
        shown = re.search(rf"\b{name} (\d+) (\d+) (\d+)", text)
        assert shown is not None
        assert sum(map(int, shown.groups())) == total


def test_page_of_a_multi_label_run_has_average_precision_and_no_confusion(labelled: Path) -> None:
    page = page_of(labelled)
    metrics = json.loads((labelled / "metrics-test.json").read_text(encoding="utf-8"))
    sections = [attributes["id"] for attributes in page.all("section")]
    assert sections == ["curves", "classes", "calibration", "mistakes", "filters", "record"]
    claim = (
        f"mlp reaches a mean average precision of {100 * metrics['mean_ap']:.1f} % over the 3 classes of digits, and "
    )
    claim += f"decides rightly about every class in {100 * metrics['exact']:.1f} % of the 360 test images"
    assert claim in page.texts["header"]
    assert "Class Images AP Recall Precision F1" in page.texts["classes"]
    row = metrics["per_class"][0]
    assert f"even {row['support']} {100 * row['average_precision']:.1f} %" in page.texts["classes"]
    wrong = round(360 * (1 - metrics["exact"]))
    assert f"{wrong} of 360 test images have a wrong decision about some class." in page.texts["mistakes"]
    assert re.search(r"missed (even|small|round) \d", page.texts["mistakes"])
    assert re.search(r"invented (even|small|round) \d", page.texts["mistakes"])
    assert not page.open
    assert {href for one in page.all("a") if (href := one["href"])} == {f"#{name}" for name in sections}


def test_record_shows_configuration_environment_command_and_digests(trained: Path, trained_page: Page) -> None:
    text = trained_page.texts["record"]
    index = json.loads((trained / "run.json").read_text(encoding="utf-8"))
    environment = json.loads((trained / "environment.json").read_text(encoding="utf-8"))
    assert "lenext train digits --model mlp" in text
    assert 'model = "mlp" seed = 0 [data] name = "digits"' in text
    assert f"versions.numpy {environment['versions']['numpy']}" in text
    assert f"test split {Predictions.load(trained / 'predictions-test.npz').split_digest}" in text
    assert f"split.csv {index['files']['split.csv']['sha256']}" in text


def test_nothing_leaves_the_page(trained_html: str, trained_page: Page) -> None:
    assert "://" not in trained_html
    assert "default-src 'none'" in trained_html
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in trained_page.tags}
    for tag, attributes in trained_page.tags:
        for name in ("src", "href"):
            if name in attributes:
                assert str(attributes[name]).startswith("data:image/png;base64," if tag == "img" else "#")
    assert set(re.findall(r"url\(([^)]{1,5})", trained_html)) <= {"#loss", "#accu", "#rate", "#reli"}


def test_every_reference_inside_the_page_has_its_target(trained_html: str, trained_page: Page) -> None:
    targets = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', trained_html))
    assert targets
    assert {one or other for one, other in targets} <= set(trained_page.ids())


def test_same_run_gives_the_same_bytes(run: Path) -> None:
    first = write_report(run).read_bytes()
    runs.update_run(run)  # lists the page itself among the run's files
    assert write_report(run).read_bytes() == first


def test_texts_of_the_run_are_escaped(run: Path) -> None:
    save_evaluation(run, renamed(run, HOSTILE), gallery_of(run))
    (run / "config.toml").write_text('name = "</code><script>"\n', encoding="utf-8")
    runs.update_run(run, model="<b>bold</b>", command="lenext train '<img src=x>'")
    page = page_of(run)
    assert not {"script", "i"} & {tag for tag, _ in page.tags}
    assert not page.open
    for name in HOSTILE:
        assert " ".join(name.split()) in page.texts["classes"]
    assert "<b>bold</b> on digits" in page.texts["header"]
    assert 'name = "</code><script>"' in page.texts["record"]
    assert "lenext train '<img src=x>'" in page.texts["record"]


def test_run_without_evaluation_shows_curves_and_what_to_type(unevaluated: Path) -> None:
    page = page_of(unevaluated)
    assert [attributes["id"] for attributes in page.all("section")] == ["curves", "data", "filters", "record"]
    assert f"lenext eval {unevaluated}" in page.texts["header"]
    assert "Test accuracy" not in page.texts["header"]
    assert sum(1 for _ in page.all("svg")) == 3


def test_run_before_its_first_epoch_has_a_page(unevaluated: Path) -> None:
    (unevaluated / "metrics.jsonl").write_text("", encoding="utf-8")
    assert "No epoch is finished yet." in page_of(unevaluated).texts["curves"]


def test_run_without_validation_draws_training_alone(unevaluated: Path) -> None:
    path = unevaluated / "metrics.jsonl"
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    kept = [{key: value for key, value in one.items() if not key.startswith("validation")} for one in records]
    path.write_text("".join(json.dumps(one) + "\n" for one in kept), encoding="utf-8")
    runs.update_run(unevaluated, validation_images=0)
    text = page_of(unevaluated).texts["curves"]
    assert "train" in text
    assert "validation" not in text
    assert "Best validation" not in text


def test_repeated_openings_of_the_test_split_are_told_with_a_warning(run: Path) -> None:
    runs.update_run(run, test_opened=3)
    text = page_of(run).texts["header"]
    assert "the test split has been opened 3 times." in text
    assert "makes the figure optimistic" in text


def test_network_of_a_paper_names_its_paper(run: Path) -> None:
    runs.update_run(run, model="resnet20")
    expected = "resnet20, after Deep Residual Learning for Image Recognition , CVPR 2016, arXiv 1512.03385."
    assert expected in page_of(run).texts["header"]


def test_page_of_a_run_without_mistakes_says_so(run: Path) -> None:
    seen = Predictions.load(run / "predictions-test.npz")
    right = dataclasses.replace(seen, scores=(5 * np.eye(10, dtype=np.float32))[seen.labels])
    gallery = gallery_of(run)
    none = {name: gallery[name][:0] for name in ("thumbnails", "thumbnails_row", "thumbnails_size")}
    save_evaluation(run, right, gallery | none)
    page = page_of(run)
    assert "None: every test image is named correctly." in page.texts["mistakes"]
    assert "No class was taken for another." in page.texts["confusion"]


def test_confusion_of_many_classes_is_a_picture(run: Path) -> None:
    seen = Predictions.load(run / "predictions-test.npz")
    scores = np.pad(seen.scores, ((0, 0), (0, 30)), constant_values=-60.0)
    many = dataclasses.replace(seen, scores=scores, classes=(*CLASSES, *(f"unseen {k}" for k in range(30))))
    save_evaluation(run, many, gallery_of(run))
    page = page_of(run)
    assert "Confusion matrix of 40 classes" in str([image["alt"] for image in page.all("img")])
    assert measure(many).per_class[39].support == 0
    assert "unseen 29 0 - " in page.texts["classes"]


def test_failed_report_leaves_the_old_page(run: Path) -> None:
    before = write_report(run).read_bytes()
    (run / "environment.json").write_text("{", encoding="utf-8")
    with pytest.raises(Exception, match="damaged"):
        write_report(run)
    assert (run / "report.html").read_bytes() == before
    assert not list(run.glob("*.part")) + list(run.glob(".*.part"))


def test_report_is_written_without_torch(run: Path) -> None:
    code = "import sys; from pathlib import Path; from lenext.reporting.page import write_report\n"
    code += "print(write_report(Path(sys.argv[1])), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-2:] == [str(run / "report.html"), "False"]


def test_texts_keep_a_contrast_of_four_and_a_half_in_both_themes() -> None:
    light, dark, _ = re.findall(r":root \{(.*?)\}", (HERE / "page.css").read_text(encoding="utf-8"), re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light))
    for theme in (colours, colours | dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", dark))):
        on_paper = itertools.product(("ink", "soft", "accent", "train", "validation", "plot-axis"), ("paper",))
        on_others = itertools.product(("ink",), ("panel", "right-full", "wrong-full"))
        for text, ground in (*on_paper, *on_others):
            assert contrast(theme[text], theme[ground]) >= 4.5, (text, ground)


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's contrast ratio of two colours written #rrggbb."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def renamed(run: Path, classes: tuple[str, ...]) -> Predictions:
    return dataclasses.replace(Predictions.load(run / "predictions-test.npz"), classes=classes)


def gallery_of(run: Path) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO((run / "gallery.npz").read_bytes())) as stored:
        return dict(stored)


@pytest.fixture(scope="session")
def trained_html(trained: Path) -> str:
    return write_report(trained).read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def trained_page(trained_html: str) -> Page:
    return Page(trained_html)
