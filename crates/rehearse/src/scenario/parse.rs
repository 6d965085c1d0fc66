//! A scenario from its lines.

use std::time::Duration;

use rhumb_types::{
    Ratio, RegionId,
    units::{Spelled, parse_duration},
};

use super::{Fault, Planned, Scenario, overlap};
use crate::text::{self, Mistake, Mistakes, Place, Source, Word, Words};

/// Most faults of a scenario.
const FAULTS_MAX: usize = 1_000;
/// The most by which a clock may be off: more is a broken clock, and nodes refuse it all the same.
const OFFSET_MAX: Duration = Duration::from_secs(24 * 60 * 60);

const SUBJECTS: [&str; 5] = ["region", "uplink", "link", "disk", "clock"];
const OF_REGION: [&str; 6] = ["down", "killed", "frozen", "isolated", "mute", "slow"];
const OF_UPLINK: [&str; 2] = ["loss", "delay"];
const OF_LINK: [&str; 3] = ["cut", "loss", "delay"];
const OF_DISK: [&str; 3] = ["slow", "full", "failing"];

/// Against what a scenario is read.
#[derive(Clone, Copy, Debug)]
pub struct Stage<'a> {
    /// The regions of the configuration, witnesses too.
    pub regions: &'a [RegionId],
    /// How long the rehearsal takes.
    pub lasting: Duration,
}

/// Reads texts as one scenario.
///
/// # Errors
/// Everything that is wrong with any of them.
pub fn parse(sources: &[Source<'_>], stage: Stage<'_>) -> Result<Scenario, Vec<Mistake>> {
    let mut mistakes = Mistakes::default();
    let mut planned: Vec<(Planned, Place)> = Vec::new();
    for source in sources {
        for line in text::lines(*source, &mut mistakes) {
            if planned.len() == FAULTS_MAX {
                mistakes.add(line.mistake(format!("a scenario has at most {FAULTS_MAX} faults")));
                return mistakes.done(Scenario::default());
            }
            let mut reading = Line { words: Words::of(&line), mistakes: &mut mistakes, stage };
            planned.extend(reading.read().map(|planned| (planned, line.place())));
        }
    }
    planned.sort_by_key(|(planned, _)| planned.at);
    for refusal in overlap::refusals(&planned) {
        mistakes.add(refusal);
    }
    let faults = planned.into_iter().map(|(planned, _)| planned).collect();
    mistakes.done(Scenario { faults })
}

/// One line. What is wrong with one part does not hide what is wrong with the next.
struct Line<'a, 'b> {
    words: Words<'a>,
    mistakes: &'b mut Mistakes,
    stage: Stage<'b>,
}

impl<'a> Line<'a, '_> {
    fn read(&mut self) -> Option<Planned> {
        let first = self.word("write `at 10m region NAME down for 30m`")?;
        if first.text != "at" {
            let hint = "a line begins with the time, such as `at 10m region NAME down for 30m`";
            self.mistakes.add(first.mistake(format!("`{}` is not `at`; {hint}", first.text)));
            return None;
        }
        let at = self.time();
        let fault = self.fault()?;
        let lasting = self.lasting()?;
        Some(Planned { at: at?, lasting, fault: fault? })
    }

    fn word(&mut self, wanted: &str) -> Option<Word<'a>> {
        let next = self.words.next(wanted);
        self.mistakes.keep(next)
    }

    fn region(&mut self) -> Option<RegionId> {
        let word = self.word("write the name of a region")?;
        let found = text::region(&word, self.stage.regions);
        self.mistakes.keep(found)
    }

    fn time(&mut self) -> Option<Duration> {
        let word = self.word("write when it begins, such as `at 10m`")?;
        let at = self.mistakes.keep(text::duration(&word))?;
        if at < self.stage.lasting {
            return Some(at);
        }
        self.mistakes.add(word.mistake(format!(
            "the rehearsal ends at {}, before this begins; write an earlier time, or rehearse for \
             longer with --for",
            Spelled(self.stage.lasting)
        )));
        None
    }

    /// The outer option: whether the rest of the line can be read.
    fn fault(&mut self) -> Option<Option<Fault>> {
        let subject = self.word("write `region`, `uplink`, `link`, `disk` or `clock`")?;
        match subject.text {
            "region" => self.fault_of_region(),
            "uplink" => self.fault_of_uplink(),
            "link" => self.fault_of_link(),
            "disk" => self.fault_of_disk(),
            "clock" => self.fault_of_clock(),
            other => {
                let hint = text::hint(other, &SUBJECTS);
                self.mistakes
                    .add(subject.mistake(format!("nothing called `{other}` can fail; {hint}")));
                None
            }
        }
    }

    fn fault_of_region(&mut self) -> Option<Option<Fault>> {
        let region = self.region();
        let what =
            self.word("write `down`, `killed`, `frozen`, `isolated`, `mute` or `slow 40%`")?;
        Some(match what.text {
            "down" => region.map(Fault::Down),
            "killed" => region.map(Fault::Killed),
            "frozen" => region.map(Fault::Freeze),
            "isolated" => region.map(Fault::Isolated),
            "mute" => region.map(Fault::Mute),
            "slow" => {
                let share = self.share("write how much it still serves, such as `slow 40%`");
                share.and_then(|share| Some(Fault::Slow(region?, share)))
            }
            other => return self.unknown(&what, other, "a region", &OF_REGION),
        })
    }

    fn fault_of_uplink(&mut self) -> Option<Option<Fault>> {
        let region = self.region();
        let what = self.word("write `loss 20%` or `delay 300ms`")?;
        Some(match what.text {
            "loss" => self.loss().and_then(|share| Some(Fault::UplinkLoss(region?, share))),
            "delay" => self.delay().and_then(|time| Some(Fault::UplinkDelay(region?, time))),
            other => return self.unknown(&what, other, "an uplink", &OF_UPLINK),
        })
    }

    fn loss(&mut self) -> Option<Ratio> {
        self.share("write how much is lost, such as `loss 20%`")
    }

    fn delay(&mut self) -> Option<Duration> {
        self.more_than_nothing("write how long, such as `delay 300ms`")
    }

    fn fault_of_link(&mut self) -> Option<Option<Fault>> {
        let from = self.region();
        let arrow = self.word("write `-` for both directions or `->` for one")?;
        let one_way = match arrow.text {
            "-" => false,
            "->" => true,
            other => {
                let hint = "write `a - b` for both directions, or `a -> b` for one";
                self.mistakes
                    .add(arrow.mistake(format!("`{other}` does not join two regions; {hint}")));
                return None;
            }
        };
        let name = self.word("write the name of the other region")?;
        let found = text::region(&name, self.stage.regions);
        let mut to = self.mistakes.keep(found);
        if from.is_some() && from == to {
            let message = format!("`{}` has no link to itself; name two regions", name.text);
            self.mistakes.add(name.mistake(message));
            to = None;
        }
        let ends = from.zip(to);
        let what = self.word("write `cut`, `loss 20%` or `delay 300ms`")?;
        if one_way && what.text != "cut" && OF_LINK.contains(&what.text) {
            let hint = "write `a - b`, or `a -> b cut`";
            let message = format!("`{}` is of both directions; {hint}", what.text);
            self.mistakes.add(what.mistake(message));
            return None;
        }
        Some(match what.text {
            "cut" if one_way => ends.map(|(from, to)| Fault::OneWay(from, to)),
            "cut" => ends.map(|(a, b)| Fault::Cut(a, b)),
            "loss" => self.loss().and_then(|share| ends.map(|(a, b)| Fault::Loss(a, b, share))),
            "delay" => self.delay().and_then(|time| ends.map(|(a, b)| Fault::Delay(a, b, time))),
            other => return self.unknown(&what, other, "a link", &OF_LINK),
        })
    }

    fn fault_of_disk(&mut self) -> Option<Option<Fault>> {
        let region = self.region();
        let what = self.word("write `slow 200ms`, `full` or `failing`")?;
        Some(match what.text {
            "full" => region.map(Fault::FullDisk),
            "failing" => region.map(Fault::FailingDisk),
            "slow" => {
                let time = self.more_than_nothing("write how long, such as `slow 200ms`");
                time.and_then(|time| Some(Fault::SlowDisk(region?, time)))
            }
            other => return self.unknown(&what, other, "a disk", &OF_DISK),
        })
    }

    fn fault_of_clock(&mut self) -> Option<Option<Fault>> {
        let region = self.region();
        let Some(word) = self.word("write the offset, such as `+2s` or `-500ms`") else {
            return Some(None);
        };
        let offset = self.mistakes.keep(offset(&word));
        Some(offset.and_then(|millis| Some(Fault::Clock(region?, millis))))
    }

    fn share(&mut self, wanted: &str) -> Option<Ratio> {
        let word = self.word(wanted)?;
        let share = self.mistakes.keep(text::percent(&word))?;
        if share > Ratio::ZERO {
            return Some(share);
        }
        self.mistakes.add(word.mistake("0% is too little; write more than 0%, up to 100%"));
        None
    }

    fn more_than_nothing(&mut self, wanted: &str) -> Option<Duration> {
        let word = self.word(wanted)?;
        let time = self.mistakes.keep(text::duration(&word))?;
        if !time.is_zero() {
            return Some(time);
        }
        self.mistakes.add(word.mistake(format!("`{}` is no time; write at least 1ms", word.text)));
        None
    }

    fn unknown<T>(&mut self, word: &Word<'_>, found: &str, of: &str, words: &[&str]) -> Option<T> {
        let hint = text::hint(found, words);
        self.mistakes.add(word.mistake(format!("`{found}` does not happen to {of}; {hint}")));
        None
    }

    /// The outer option: whether the end of the line can be read.
    fn lasting(&mut self) -> Option<Option<Duration>> {
        let Some(word) = self.words.rest() else { return Some(None) };
        if word.text != "for" {
            let hint = "end the line, or write how long it lasts, such as `for 30m`";
            self.mistakes
                .add(word.mistake(format!("`{}` is not expected here; {hint}", word.text)));
            return None;
        }
        let lasting = self.more_than_nothing("write how long it lasts, such as `for 30m`");
        if let Some(more) = self.words.rest() {
            let message = format!("`{}` is not expected here; end the line", more.text);
            self.mistakes.add(more.mistake(message));
            return None;
        }
        lasting.map(Some)
    }
}

fn offset(word: &Word<'_>) -> Result<i64, Mistake> {
    let hint = "write +2s when it is ahead, or -2s when it is behind";
    let text = word.text;
    let (sign, rest) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(rest), _) => (1, rest),
        (_, Some(rest)) => (-1, rest),
        _ => return Err(word.mistake(format!("`{text}` does not say in which direction; {hint}"))),
    };
    let offset = parse_duration(rest)
        .map_err(|_| word.mistake(format!("`{text}` is not an offset; {hint}")))?;
    if offset.is_zero() || offset > OFFSET_MAX {
        let message = format!("`{text}` is out of range; write an offset of 1ms to 24h");
        return Err(word.mistake(message));
    }
    let millis = i64::try_from(offset.as_millis()).unwrap_or(i64::MAX);
    Ok(sign * millis)
}
