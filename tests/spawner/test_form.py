from html.parser import HTMLParser

from bai_jupyter.spawner.form import Offer, form_of
from bai_jupyter.spawner.options import Options

NOW = {"verdict": "now", "reason": None, "estimate_s": None}
WAIT = {"verdict": "wait", "reason": {"code": "queued", "text": "3rd in the queue."}, "estimate_s": 700}
REFUSED = {"verdict": "refused", "reason": {"code": "over-quota", "text": "2 too much."}, "estimate_s": None}


class Form(HTMLParser):
    """Its controls as ``{name: [value]}``, what is chosen, and the texts that ids stand for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.values: dict[str, list[str]] = {}
        self.chosen: dict[str, str] = {}
        self.texts: dict[str, str] = {}
        self.described: dict[str, str] = {}
        self._name, self._id = "", ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self._id = given.get("id", "")
        if tag == "select":
            self._name = given["name"]
        if tag in ("option", "input"):
            name = given.get("name", self._name)
            self.values.setdefault(name, []).append(given["value"])
            if "selected" in given or "checked" in given:
                self.chosen[name] = given["value"]
            if "aria-describedby" in given:
                self.described[given["value"]] = given["aria-describedby"]

    def handle_data(self, data):
        self.texts[self._id] = self.texts.get(self._id, "") + data


def test_all_can_be_chosen_and_the_last_choice_is():
    offer = Offer(["a", "b"], {"small": NOW, "big": REFUSED}, {"data": "ro", "own": "rw"}, {"small": "1 CPU, 2 GiB"})
    form = Form(form_of(offer, Options("b", "big", {"own": "rw"})))
    assert form.values == {
        "image": ["a", "b"],
        "preset": ["small", "big"],
        "folder:data": ["", "ro"],
        "folder:own": ["", "ro", "rw"],
    }
    assert form.chosen == {"image": "b", "preset": "big", "folder:data": "", "folder:own": "rw"}
    assert form.texts[form.described["big"]].strip() == "2 too much."
    assert form.texts[form.described["small"]].strip() == "1 CPU, 2 GiB · Starts now."


def test_what_was_chosen_and_is_not_there_any_more_gives_way_to_the_first():
    assert Form(form_of(Offer(["a"], {"": NOW, "small": NOW}, {}), Options("gone", "gone"))).chosen == {"preset": ""}


def test_of_several_projects_one_can_be_chosen():
    assert "project" not in Form(form_of(Offer(["a"], {"": NOW}, {}, {}, ["vision"]), Options())).values
    form = Form(form_of(Offer(["a"], {"": NOW}, {}, {}, ["nlp", "vision"]), Options(project="vision")))
    assert (form.values["project"], form.chosen["project"]) == (["", "nlp", "vision"], "vision")


def test_names_are_escaped():
    text = form_of(Offer(["<b>&"], {'"x': {**REFUSED, "reason": {"text": "<script>"}}}, {"<i>": "rw"}), Options())
    assert not [raw for raw in ("<b>", "<i>", "<script>", 'value=""x') if raw in text]
    assert Form(text).values["image"] == ["<b>&"]
