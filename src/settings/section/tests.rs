//! Owns the tests of sections: every problem of a table, each once and under its own key.

use std::time::Duration;

use serde_json::json;

use super::*;

#[test]
fn every_problem_of_a_table_is_reported_with_its_key() {
    let problems = Problems::default();
    let mut section = Section::open("backends.a", json!({"weight": "heavy", "wieght": 1, "idle": "soon"}), &problems);
    section.value::<f64>("weight");
    section.value::<Duration>("idle");
    section.required::<String>("base_url");
    section.finish();
    let found: Vec<String> = problems.into_inner().iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "backends.a.base_url: is missing; set it to a string",
            "backends.a.idle: must be a duration such as \"15s\" or \"250ms\", at most 100 years",
            "backends.a.weight: must be a number",
            "backends.a.wieght: is not a setting; did you mean `weight`?",
        ]
    );
}

#[test]
fn of_a_key_only_the_first_problem_is_told_and_none_of_what_is_in_it() {
    let problems = Problems::default();
    for key in ["a.b", "a.b", "a.b.c", "a.b[0]", "a.bc", "l[1]", "l", "l[0]", "a"] {
        problems.add(key, "is wrong");
    }
    let keys: Vec<String> = problems.into_inner().into_iter().map(|problem| problem.key).collect();
    assert_eq!(keys, ["a", "a.b", "a.bc", "l[0]", "l[1]"]);
}

#[test]
fn what_is_wrong_with_a_default_is_told_under_its_own_key_and_once() {
    let problems = Problems::default();
    let map = json!({"weight": "heavy", "wieght": 1, "idle": "5s", "least": 3, "most": 2});
    let defaults = Defaults { path: "defaults.backend".to_owned(), map: map.as_object().expect("a table").clone() };
    for (path, own) in [("backends.a", json!({})), ("backends.b", json!({"least": 4, "idle": 7}))] {
        let mut section = Section::over(&defaults, path, own, &problems);
        section.value::<f64>("weight");
        section.value::<Duration>("idle");
        if section.value::<u64>("least") > section.value("most") {
            section.clash("most", &["least", "most"], "is less than `least`");
        }
        section.required::<String>("base_url");
        section.finish();
    }
    let found: Vec<String> = problems.into_inner().into_iter().map(|problem| problem.key).collect();
    let defaults = ["most", "weight", "wieght"].map(|key| format!("defaults.backend.{key}"));
    let own = ["a.base_url", "b.base_url", "b.idle", "b.most"].map(|key| format!("backends.{key}"));
    assert_eq!(found, [&own[..], &defaults].concat());
}

#[test]
fn counts_shares_and_pauses_have_their_bounds_and_each_says_which() {
    let problems = Problems::default();
    for (value, is_good) in [(json!(0), false), (json!(1), true), (json!(7), true), (json!(8), false)] {
        let problems = Problems::default();
        Section::open("a", json!({"queue": value}), &problems).count::<usize>("queue", 7);
        assert_eq!(problems.into_inner().is_empty(), is_good, "{value}");
    }
    let values = json!({"queue": 8, "sample": 1.01, "every": "9999us", "often": "10ms", "half": 0.5});
    let mut section = Section::open("a", values, &problems);
    section.count::<u32>("queue", 7);
    section.share("sample");
    section.pause("every");
    assert_eq!((section.pause("often"), section.share("half")), (Duration::from_millis(10), 0.5));
    section.finish();
    let told: Vec<String> = problems.into_inner().iter().map(ToString::to_string).collect();
    let [every, queue, sample] =
        ["every: must be at least \"10ms\"", "queue: must be from 1 to 7", "sample: must be a share from 0 to 1"];
    assert_eq!(told, [every, queue, sample].map(|text| format!("a.{text}")));
}

#[test]
fn of_a_few_words_all_are_named_where_none_of_them_stands() {
    for value in [json!({"probe": true}), json!({"probe": "perhaps"}), json!({})] {
        let problems = Problems::default();
        let mut section = Section::open("backends.a", value, &problems);
        assert_eq!(section.word("probe", &[("off", 0), ("models", 1)]), None);
        let told = problems.into_inner();
        assert!(matches!(&told[..], [one] if one.text.ends_with("one of \"off\", \"models\"")), "{told:?}");
    }
}

#[test]
fn a_name_that_ends_at_its_dot_is_shown_in_quotes() {
    let problems = Problems::default();
    Section::open("models.gpt-3", json!({"5": {"backends": []}}), &problems).finish();
    Section::open("models.gpt-4", json!({"5": 1}), &problems).finish();
    let told: Vec<String> = problems.into_inner().iter().map(ToString::to_string).collect();
    assert!(told[0].ends_with("; if the name is gpt-3.5, write [models.\"gpt-3.5\"]"), "{told:?}");
    assert!(told[1].contains("known keys"), "{told:?}");
}
