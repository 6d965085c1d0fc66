use super::page;
use crate::report::{
    Report,
    tests::{findings, rehearsal, report, with_jobs, with_objects},
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
