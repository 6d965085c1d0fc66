//! What was asked for.

use std::{collections::BTreeSet, str::FromStr, time::Duration};

use rhumb_sim::{Kind, Options, fault::Fault, setup};

/// Seeds of a campaign that says nothing else.
const SEEDS_DEFAULT: u64 = 100;
/// Events that `--trace` keeps unless it says how many.
const HISTORY_DEFAULT: usize = 2_000;

/// How to ask.
pub(crate) const HELP: &str = "\
cargo xtask sim [--seeds N] [--seed FIRST] [options]

  --seeds N           how many seeds (100; 1 when --seed is given)
  --seed S            the first seed (1)
  --kind KIND         only runs of this kind: data, domains, control, queues or objects
  --regions N         how many regions, 2 to 9 (left to the seed)
  --load TIME         how long clients write: 500ms, 20s, 10m, 2h, 1d (20s)
  --rate N            writes per second on the whole (130)
  --faults A,B        only faults of these kinds, such as kill,one-way
  --only-faults 3,7   only these faults of the seed, by number; `none` for none
  --threads N         how many runs at a time (one per core)
  --trace [N]         write the last N events of one seed (2000)
  --shrink            look for the smallest run of one seed that still fails";

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Task {
    Help,
    Campaign,
    Trace,
    Shrink,
}

/// Everything that was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Arguments {
    pub(crate) task: Task,
    pub(crate) seeds: u64,
    /// What every run shares, with the first seed.
    pub(crate) options: Options,
    pub(crate) kinds: Vec<Kind>,
    /// `None` for one per core.
    pub(crate) threads: Option<usize>,
}

impl Arguments {
    /// Reads the command line.
    pub(crate) fn parse(words: &[String]) -> Result<Self, String> {
        let options = Options { seed: 1, ..Options::default() };
        let kinds = Kind::ALL.to_vec();
        let mut arguments =
            Self { task: Task::Campaign, seeds: SEEDS_DEFAULT, options, kinds, threads: None };
        let mut seeds = None;
        let mut words = words.iter().peekable();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("`{word}` wants a value"));
            match word.as_str() {
                "--help" | "-h" => arguments.task = Task::Help,
                "--seeds" => seeds = Some(number(value()?)?),
                "--seed" => {
                    arguments.options.seed = number(value()?)?;
                    seeds = seeds.or(Some(1));
                }
                "--threads" => arguments.threads = Some(number::<usize>(value()?)?.max(1)),
                "--shrink" => arguments.task = Task::Shrink,
                "--trace" => {
                    arguments.task = Task::Trace;
                    let given = words.next_if(|next| !next.starts_with("--"));
                    arguments.options.history = given.map_or(Ok(HISTORY_DEFAULT), number)?;
                }
                "--kind" => arguments.kinds = vec![kind(value()?)?],
                other => arguments.option(other, value()?)?,
            }
        }
        arguments.seeds = seeds.unwrap_or(SEEDS_DEFAULT);
        arguments.check()
    }

    /// An option of the runs themselves.
    fn option(&mut self, word: &str, value: &str) -> Result<(), String> {
        let options = &mut self.options;
        match word {
            "--regions" => options.regions = Some(number(value)?),
            "--load" => options.load = time(value)?,
            "--rate" => options.rate = Some(number(value)?),
            "--faults" => options.faults = Some(list(value, fault)?),
            "--only-faults" if value == "none" => options.only = Some(BTreeSet::new()),
            "--only-faults" => options.only = Some(list(value, number)?),
            other => return Err(format!("`{other}` is not an option")),
        }
        Ok(())
    }

    fn check(self) -> Result<Self, String> {
        let (least, most) = setup::REGIONS;
        let regions = self.options.regions;
        if regions.is_some_and(|regions| !(least..=most).contains(&regions)) {
            return Err(format!("a run has {least} to {most} regions"));
        }
        if self.options.load.is_zero() {
            return Err("a run without load tries nothing".to_owned());
        }
        if self.options.rate == Some(0) {
            return Err("a run without writes tries nothing".to_owned());
        }
        let one = self.seeds == 1 && self.kinds.len() == 1;
        if matches!(self.task, Task::Trace | Task::Shrink) && !one {
            return Err("this wants one run: `--seed S --kind KIND`".to_owned());
        }
        Ok(self)
    }
}

fn number<N: FromStr>(word: impl AsRef<str>) -> Result<N, String> {
    let word = word.as_ref();
    word.parse().map_err(|_| format!("`{word}` is not a number"))
}

fn kind(word: &String) -> Result<Kind, String> {
    let names = || Kind::ALL.map(Kind::name).join(", ");
    Kind::named(word).ok_or_else(|| format!("`{word}` is not a kind: use one of {}", names()))
}

fn fault(word: &str) -> Result<Fault, String> {
    let names = || Fault::all().map(Fault::name).collect::<Vec<_>>().join(", ");
    Fault::named(word).ok_or_else(|| format!("`{word}` is not a fault: use some of {}", names()))
}

fn list<'a, T: Ord>(
    words: &'a str,
    each: impl Fn(&'a str) -> Result<T, String>,
) -> Result<BTreeSet<T>, String> {
    words.split(',').map(each).collect()
}

fn time(word: &str) -> Result<Duration, String> {
    let wrong = || format!("`{word}` is not a time: use a number with ms, s, m, h or d");
    let unit = word.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
    let (count, unit) = word.split_at(unit);
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    let count: u64 = count.parse().map_err(|_| wrong())?;
    Ok(Duration::from_millis(count.checked_mul(millis).ok_or_else(wrong)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Arguments::parse(&words)
    }

    #[test]
    fn the_command_of_a_run_has_that_run_again() {
        let options = Options {
            seed: 42,
            kind: Kind::Control,
            regions: Some(5),
            load: Duration::from_millis(1_750),
            rate: Some(7),
            faults: Some([Fault::Kill, Fault::OneWay].into()),
            only: Some([3, 7, 9].into()),
            script: None,
            history: 0,
        };
        let command = options.command();
        let again = parse(command.strip_prefix("cargo xtask sim ").unwrap()).unwrap();
        assert_eq!((again.seeds, again.kinds.as_slice()), (1, [Kind::Control].as_slice()));
        assert_eq!(Options { kind: Kind::Control, ..again.options }, options);
    }

    #[test]
    fn a_campaign_is_the_default() {
        let campaign = parse("").unwrap();
        assert_eq!((campaign.seeds, campaign.options.seed), (SEEDS_DEFAULT, 1));
        assert_eq!(campaign.kinds, Kind::ALL);
        assert_eq!(parse("--seed 9 --seeds 5").unwrap().seeds, 5);
        assert_eq!(parse("--seeds 5 --seed 9").unwrap().seeds, 5);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (line, part) in [
            ("--sedes 4", "`--sedes`"),
            ("--seeds", "wants a value"),
            ("--seeds many", "`many`"),
            ("--kind both", "`both`"),
            ("--faults kill,flood", "`flood`"),
            ("--only-faults 3,x", "`x`"),
            ("--load 20", "`20`"),
            ("--load 0s", "without load"),
            ("--rate 0", "without writes"),
            ("--regions 1", "2 to 9"),
            ("--trace", "one run"),
            ("--shrink --seed 4", "one run"),
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn a_trace_may_say_how_long_it_is() {
        let trace = |line: &str| parse(line).unwrap().options.history;
        assert_eq!(trace("--trace --seed 3 --kind data"), HISTORY_DEFAULT);
        assert_eq!(trace("--seed 3 --kind data --trace 50"), 50);
    }
}
