use std::time::Duration;

use rhumb_types::RegionId;

use super::page;
use crate::{
    report::{
        Report,
        tests::{findings, rehearsal, report, with_jobs, with_objects},
    },
    scenario::{Fault, Planned},
};

fn shown(goals: &str) -> String {
    let (rehearsal, report) = (rehearsal(), report());
    page(&findings(&rehearsal, &report, goals))
}

#[test]
fn the_page_has_every_part_and_needs_nothing_else() {
    let page = shown("served < 5s\nload < 100%");
    for part in ["traffic", "failed", "latency", "waiting", "lag", "cost", "served", "gap", "owned"]
    {
        assert!(page.contains(&format!("<figure class=\"plot\" id=\"{part}\">")), "{part}");
    }
    assert!(page.contains("<title>Rehearsal failed</title>"));
    assert!(page.contains("load &lt;= 100%"));
    for outside in ["http:", "https:", "url(", "@import", "src=\"", "href=\""] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn jobs_have_their_plots_and_their_table() {
    let rehearsal = rehearsal();
    let report = Report::new((1..=3).map(with_jobs).collect());
    let page = page(&findings(&rehearsal, &report, "oldest job < 2m\njobs drained < 3m"));
    for plot in ["depth", "oldest"] {
        assert!(page.contains(&format!("<figure class=\"plot\" id=\"{plot}\">")), "{plot}");
    }
    assert!(page.contains("<h2>Jobs</h2>"));
    assert!(page.contains("jobs drained &lt;= 3m"));
    let without = shown("");
    assert!(!without.contains("<h2>Jobs</h2>") && !without.contains("id=\"depth\""));
}

#[test]
fn objects_have_their_plots_and_their_table() {
    let rehearsal = rehearsal();
    let report = Report::new((1..=3).map(with_objects).collect());
    let page = page(&findings(&rehearsal, &report, "objects at risk < 1\nbacklog < 10GB"));
    for plot in ["backlog", "uploads", "links"] {
        assert!(page.contains(&format!("<figure class=\"plot\" id=\"{plot}\">")), "{plot}");
    }
    assert!(page.contains("<h2>Objects</h2>") && page.contains("<td>eu-west-1</td>"));
    assert!(page.contains("7, 15.3 MiB, the oldest 3.00 s old"), "{page}");
    let without = shown("");
    assert!(!without.contains("<h2>Objects</h2>") && !without.contains("id=\"backlog\""));
}

/// The bands of every plot over time, as their faults and their x and width.
fn bands(page: &str) -> Vec<Vec<(String, f64, f64)>> {
    let number = |text: &str, name: &str| -> f64 {
        let (_, value) = text.split_once(&format!(" {name}=\"")).unwrap();
        value.split_once('"').unwrap().0.parse().unwrap()
    };
    let of = |group: &str| {
        let (fault, rest) = group.split_once("</title>").unwrap();
        let (rect, _) = rest.split_once("/>").unwrap();
        let band = rect.starts_with("<rect class=\"band\"");
        band.then(|| (fault.to_owned(), number(rect, "x"), number(rect, "width")))
    };
    let figures = page.split("<figure class=\"plot\"").skip(1);
    let all = figures.map(|figure| figure.split("<g><title>").skip(1).filter_map(of).collect());
    all.filter(|bands: &Vec<_>| !bands.is_empty()).collect()
}

#[test]
fn faults_are_shaded_from_their_beginning_to_their_end() {
    let mut rehearsal = rehearsal();
    let region = RegionId::new("ap-southeast-1").unwrap();
    let short = Planned {
        at: Duration::from_secs(45 * 60),
        lasting: Some(Duration::from_secs(1)),
        fault: Fault::Killed(region),
    };
    rehearsal.scenario.faults.insert(1, short);
    let report = report();
    let plots = bands(&page(&findings(&rehearsal, &report, "")));
    assert!(plots.len() >= 6, "{plots:?}");
    // An hour is 915 wide, behind a margin of 70. A second of it would not be seen, and is 3 wide.
    let expected = [
        ("at 10m region us-east-1 down for 30m", 222.5, 457.5),
        ("at 45m region ap-southeast-1 killed for 1s", 756.25, 3.0),
        ("at 50m disk eu-west-1 slow 200ms", 832.5, 152.5),
    ];
    for bands in plots {
        assert_eq!(bands.len(), expected.len(), "{bands:?}");
        for ((fault, x, width), (its, at, lasting)) in bands.iter().zip(expected) {
            assert_eq!(fault, its);
            assert!((x - at).abs() <= 0.051 && (width - lasting).abs() <= 0.051, "{bands:?}");
        }
    }
}

#[test]
fn what_people_wrote_is_never_markup() {
    let page = shown("");
    assert!(page.contains("the price of &lt;traffic&gt; is not known"));
    assert!(page.contains("--fault &#39;at 10m"));
}

#[test]
fn every_element_is_closed() {
    let page = shown("served < 5s");
    for element in ["section", "figure", "table", "tr", "td", "svg", "g", "ul", "li", "script", "p"]
    {
        let opened = page.matches(&format!("<{element}>")).count()
            + page.matches(&format!("<{element} ")).count();
        assert_eq!(opened, page.matches(&format!("</{element}>")).count(), "{element}");
    }
}
