use super::page;
use crate::report::tests::{findings, rehearsal, report};

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
