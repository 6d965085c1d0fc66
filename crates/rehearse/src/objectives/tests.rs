use proptest::prelude::*;

use super::parse;
use crate::text::Source;

fn read(text: &str) -> Result<Vec<String>, String> {
    let told = |mistakes: Vec<crate::text::Mistake>| {
        mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let objectives = parse(&[Source { name: "goals", text }]).map_err(told)?;
    Ok(objectives.iter().map(ToString::to_string).collect())
}

#[test]
fn every_figure_has_its_unit() {
    let lines = [
        "served <= 5s",
        "owned <= 20s",
        "detected <= 15s",
        "gap <= 1s",
        "failed <= 0.1%",
        "slow <= 2%",
        "stale <= 1%",
        "exposed writes <= 0",
        "exposed <= 100ms",
        "load <= 100%",
        "lag <= 500ms",
        "cost per hour <= 2.5 USD",
    ];
    assert_eq!(read(&lines.join("\n")).unwrap(), lines);
    let shorter = "served<5s\nexposed  writes < 1 # none\ncost per hour<3USD";
    let shown = ["served <= 5s", "exposed writes <= 0", "cost per hour <= 3 USD"];
    assert_eq!(read(shorter).unwrap(), shown);
}

#[test]
fn a_bare_number_is_refused() {
    for (text, said) in [
        ("served < 5", "goals:1:10: `5` has no unit; write 5s or 5ms"),
        ("failed < 0.1", "goals:1:10: `0.1` has no unit; write 10%"),
        ("failed < 5", "goals:1:10: `5` is not a share; write 5%"),
        ("cost per hour < 3", "goals:1:17: `3` has no unit; write 3 USD"),
        (
            "exposed writes < 0",
            "goals:1:18: `0` is no bound of a count; write a whole number, such \
          as `exposed writes < 1` for none",
        ),
        (
            "served",
            "goals:1:1: `served` has no bound; write a figure, `<` and its bound, such as \
          `served < 5s`",
        ),
        ("servd < 5s", "goals:1:1: `servd` is not a figure of a rehearsal; did you mean `served`?"),
        (
            "failover p99 < 5s",
            "goals:1:1: `failover p99` is not a figure of a rehearsal; an \
          objective holds in the worst run, so it has no percentile; write `served < 5s`",
        ),
        ("load < 120%", "goals:1:8: `120%` is not a share; write 0% to 100%"),
        ("lag < -5ms", "goals:1:7: `-5ms` is negative; write 5ms or more than 0s"),
    ] {
        assert_eq!(read(text).unwrap_err(), said);
    }
    assert_eq!(read("served < 5\ngap < 1").unwrap_err().lines().count(), 2);
}

#[test]
fn the_objectives_of_the_documents_are_objectives() {
    let document = include_str!("../../../../docs/rehearse.md");
    let block = document.split("```text\n").nth(1).and_then(|rest| rest.split("```").next());
    assert_eq!(read(block.unwrap()).unwrap().len(), 10);
}

proptest! {
    #[test]
    fn any_text_is_an_objective_or_a_mistake(
        name in prop::sample::select(super::parse::NAMES.to_vec()),
        bound in "[0-9]{0,25}(s|ms|m|%|\\.[0-9]{1,8}%| USD|B|MB|GiB|)",
        text in "(?s).{0,50}",
    ) {
        let _ = read(&text);
        if let Ok(shown) = read(&format!("{name} <= {bound}")) {
            prop_assert_eq!(read(&shown.join("\n")).unwrap(), shown);
        }
    }
}
