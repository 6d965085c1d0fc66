//! The page of `rhumb rehearse`, as a browser shows it: every plot is there, and none is empty.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use rhumb_integration::programs;
use serde_json::Value;

use super::{json, run, skipped};

/// The programs that a Chromium may be called.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// The size of the window: the whole page fits.
const WINDOW: (u32, u32) = (1280, 9500);
/// What must be on the page, with the share of its columns that must show something.
const PLOTS: [(&str, f64); 14] = [
    ("traffic", 0.95),
    ("failed", 0.02),
    ("latency", 0.8),
    ("waiting", 0.95),
    ("lag", 0.95),
    ("cost", 0.95),
    ("depth", 0.95),
    ("oldest", 0.95),
    ("backlog", 0.95),
    ("uploads", 0.8),
    ("links", 0.95),
    ("served", 0.02),
    ("gap", 0.02),
    ("owned", 0.02),
];
/// By how much each part of a colour may differ: edges are smoothed.
const TOLERANCE: u8 = 24;

/// Tells where each plot's values are, and in which colours they are drawn.
const PROBE: &str = r#"<script>
const parts = {};
for (const figure of document.querySelectorAll(".plot")) {
  const box = figure.querySelector("svg").getBoundingClientRect();
  const colours = new Set();
  for (const path of figure.querySelectorAll("svg path")) colours.add(getComputedStyle(path).color);
  for (const bar of figure.querySelectorAll("svg .bar")) colours.add(getComputedStyle(bar).fill);
  parts[figure.id] = { x: box.x, y: box.y, width: box.width, height: box.height, colours: [...colours] };
}
const svg = document.querySelector('#traffic svg');
const box = svg.getBoundingClientRect();
const middle = { clientX: box.x + box.width * 0.55, clientY: box.y + box.height / 2 };
svg.dispatchEvent(new PointerEvent("pointermove", middle));
parts.pointed = document.querySelector('#traffic .values').textContent;
document.body.textContent = JSON.stringify(parts);
</script></body>"#;

#[test]
fn every_plot_of_the_page_shows_something_in_a_browser() {
    let Some(browser) = browser() else {
        return skipped("there is no Chromium (Debian package chromium)");
    };
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("outage.html");
    // Half of the resolvers keep what they know for too long, and the survivors are small.
    let words = [
        "rehearse",
        "--example",
        "--for",
        "2m",
        "--seeds",
        "3",
        "--rps",
        "150",
        "--dns-ttl",
        "5s",
        "--dns-ignore",
        "50%",
        "--dns-kept",
        "40s",
        "--fault",
        "at 30s region us-east-1 down for 50s",
        "--capacity",
        "us-east-1=90,eu-west-1=90,ap-southeast-1=90",
        "--jobs",
        "20",
        "--workers",
        "20",
        "--uploads",
        "5",
        "--upload-size",
        "1MiB",
        "--html",
    ];
    run(Command::new(programs::rhumb().unwrap()).args(words).arg(&page));
    let seen = look(browser, &page).unwrap();
    assert_eq!(seen.empty_plots().unwrap(), [""; 0]);
    // Under the pointer stand the values of that time: soon after one minute of two.
    let pointed: Vec<&str> = seen.parts["pointed"].as_str().unwrap().lines().collect();
    assert!(pointed[0].starts_with("00:01:0") && pointed[3] == "us-east-1: 0", "{pointed:?}");

    // The check sees plots that have their axes and nothing else.
    let text = fs::read_to_string(&page).unwrap();
    let text = text
        .replace(" d=\"M", " data-d=\"M")
        .replace("class=\"bar", "display=\"none\" class=\"bar");
    let blank = folder.path().join("blank.html");
    fs::write(&blank, text).unwrap();
    assert_eq!(look(browser, &blank).unwrap().empty_plots().unwrap(), PLOTS.map(|(name, _)| name));
}

fn browser() -> Option<&'static str> {
    BROWSERS.into_iter().find(|name| programs::answers(name, &["--version"]))
}

/// A page as it was shown.
struct Seen {
    parts: Value,
    width: usize,
    /// Red, green and blue of each pixel, line by line.
    pixels: Vec<[u8; 3]>,
}

/// Where something is, in pixels.
struct Area {
    left: usize,
    right: usize,
    top: usize,
    bottom: usize,
}

fn look(browser: &str, page: &Path) -> Result<Seen> {
    let folder = tempfile::tempdir()?;
    let probed = folder.path().join("probed.html");
    fs::write(&probed, fs::read_to_string(page)?.replace("</body>", PROBE))?;
    let shown = folder.path().join("page.png");
    let shot = format!("--screenshot={}", shown.display());
    run(&mut chromium(browser, folder.path(), &shot, page));
    let document = run(&mut chromium(browser, folder.path(), "--dump-dom", &probed));
    let (_, told) = document.split_once("<body>").context("the page has no body")?;
    let (told, _) = told.split_once("</body>").context("the page's body does not end")?;
    let mut picture = png::Decoder::new(std::io::BufReader::new(fs::File::open(shown)?));
    picture.set_transformations(png::Transformations::normalize_to_color8());
    let mut picture = picture.read_info()?;
    let mut bytes = vec![0; picture.output_buffer_size().context("the picture is too large")?];
    let frame = picture.next_frame(&mut bytes)?;
    let samples = frame.color_type.samples();
    let rgb = |pixel: &[u8]| pixel.first_chunk::<3>().copied();
    let pixels: Option<Vec<[u8; 3]>> = bytes.chunks_exact(samples).map(rgb).collect();
    let pixels = pixels.context("the picture is not in colour")?;
    Ok(Seen { parts: json(told), width: usize::try_from(frame.width)?, pixels })
}

fn chromium(browser: &str, profile: &Path, what: &str, page: &Path) -> Command {
    let mut command = Command::new(browser);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--force-device-scale-factor=1",
        "--force-color-profile=srgb",
    ]);
    command.arg(format!("--user-data-dir={}", profile.join("profile").display()));
    command.arg(format!("--window-size={},{}", WINDOW.0, WINDOW.1));
    command.arg(what).arg(format!("file://{}", page.display()));
    command
}

impl Seen {
    /// Plots that are not there, or show less than they must.
    fn empty_plots(&self) -> Result<Vec<&'static str>> {
        let mut empty = Vec::new();
        for (name, least) in PLOTS {
            let share = match self.parts.get(name) {
                Some(part) => self.share_of_columns(part)?,
                None => 0.0,
            };
            if share < least {
                println!("{name} shows values in {share:.2} of its columns, not in {least}");
                empty.push(name);
            }
        }
        Ok(empty)
    }

    /// In which share of a plot's columns something is drawn in the colours of its values.
    fn share_of_columns(&self, part: &Value) -> Result<f64> {
        let colours = part["colours"].as_array().context("a plot has no colours")?;
        let colours: Vec<[u8; 3]> = colours.iter().filter_map(|it| colour(it.as_str()?)).collect();
        let area = Area::of_values(part)?;
        let mut columns = BTreeSet::new();
        for y in area.top..area.bottom {
            let line = self.pixels.get(y * self.width..(y + 1) * self.width);
            let line = line.context("a plot is below the picture")?;
            let within = line.iter().enumerate().take(area.right).skip(area.left);
            let drawn = within.filter(|(_, pixel)| colours.iter().any(|it| alike(it, pixel)));
            columns.extend(drawn.map(|(x, _)| x));
        }
        Ok(columns.len() as f64 / (area.right - area.left) as f64)
    }
}

impl Area {
    /// Where the values of a plot are: within its axes.
    fn of_values(part: &Value) -> Result<Self> {
        let number = |name: &str| part[name].as_f64().with_context(|| format!("no {name}"));
        let (x, y) = (number("x")?, number("y")?);
        let (width, height) = (number("width")?, number("height")?);
        let area = Self {
            left: whole(x + width * 0.075),
            right: whole(x + width * 0.98),
            top: whole(y + height * 0.1),
            // The lowest values stand on the axis.
            bottom: whole(y + height * 0.88),
        };
        ensure!(area.left < area.right && area.top < area.bottom, "a plot has no size");
        Ok(area)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a conversion from floating point saturates"
)]
const fn whole(number: f64) -> usize {
    number as usize
}

/// `rgb(0, 114, 178)`, as browsers say it.
fn colour(text: &str) -> Option<[u8; 3]> {
    let parts = text.strip_prefix("rgb(")?.strip_suffix(')')?;
    let parts: Vec<u8> = parts.split(", ").filter_map(|part| part.parse().ok()).collect();
    parts.try_into().ok()
}

fn alike(one: &[u8; 3], other: &[u8; 3]) -> bool {
    one.iter().zip(other).all(|(a, b)| a.abs_diff(*b) <= TOLERANCE)
}
