from html.parser import HTMLParser

from bai_jupyter.spawner.form import Last, Offer, form_of, room_of
from bai_jupyter.spawner.options import Options, options_of_form

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
        if tag in ("option", "input") or (tag == "button" and "name" in given):
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


def test_what_is_seldom_chosen_is_folded_unless_it_has_to_be():
    text = form_of(Offer(["a"], {"": NOW}, {"data": "ro"}, {}, ["nlp", "vision"], ["x", "y"]), Options("a"))
    assert text.index("Resources") < text.index("Folders") < text.index("More: environment, group, project</summary>")
    assert "<details" in text
    assert " open>" not in text
    assert " open>" in form_of(Offer(["a"], {"": NOW}, {}), Options("gone"))


def test_of_several_projects_one_can_be_chosen():
    assert "project" not in Form(form_of(Offer(["a"], {"": NOW}, {}, {}, ["vision"]), Options())).values
    form = Form(form_of(Offer(["a"], {"": NOW}, {}, {}, ["nlp", "vision"]), Options(project="vision")))
    assert (form.values["project"], form.chosen["project"]) == (["", "nlp", "vision"], "vision")


def test_of_several_groups_one_can_be_chosen():
    form = Form(form_of(Offer(["a"], {"": NOW}, {}, groups=["default", "gpu"]), Options(group="gpu")))
    assert (form.values["group"], form.chosen["group"]) == (["default", "gpu"], "gpu")


def test_what_was_chosen_last_is_one_button():
    last = {"image": "b", "preset": "", "folders": {"d'": "ro"}, "group": "", "project": "vision"}
    form = Form(form_of(Offer(["a"], {"": NOW}, {}, last=Last(last, {**WAIT, "slots": {"cpu": "2"}})), Options()))
    (value,) = form.values["again"]
    assert options_of_form({"again": [value]}) == last
    said = "b · vision · 2 CPU · d' (read only) · Starts in about 12 min. 3rd in the queue."
    assert form.texts[form.described[value]].strip() == said


def test_what_would_be_refused_is_not_offered_again():
    last = {"image": "b", "preset": "", "folders": {}, "group": "", "project": ""}
    assert "again" not in Form(form_of(Offer(["a"], {"": NOW}, {}, last=Last(last, REFUSED)), Options())).values


def test_room_is_the_least_that_any_limit_leaves():
    none = {"cpu": "Infinity", "mem": "Infinity"}
    capacity = {f"{level}_remaining": none for level in ("keypair", "user", "group", "domain")}
    assert room_of(capacity) == ""
    capacity |= {
        "user_remaining": {"cpu": "6", "mem": "Infinity"},
        "domain_remaining": {"cpu": "2.5", "mem": "1073741824"},
    }
    room = room_of(capacity)
    assert room == "2.5 CPU, 1 GiB"
    assert f"You may have {room} more." in form_of(Offer(["a"], {"": NOW}, {}, room=room), Options())
    assert room_of({**capacity, "group_remaining": {"cpu": "-1", "mem": "0"}}) == "nothing"


def test_names_are_escaped():
    text = form_of(Offer(["<b>&"], {'"x': {**REFUSED, "reason": {"text": "<script>"}}}, {"<i>": "rw"}), Options())
    assert not [raw for raw in ("<b>", "<i>", "<script>", 'value=""x') if raw in text]
    assert Form(text).values["image"] == ["<b>&"]
