//! The environment variables that override the file.

/// A variable and the setting that it replaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Override {
    /// The variable's name.
    pub variable: &'static str,
    /// The keys that lead to the setting.
    pub path: &'static [&'static str],
}

/// Names the file itself, for programs that take no argument.
pub const CONFIG_VARIABLE: &str = "RHUMB_CONFIG";

/// All of them. Of two variables for one setting, the first that is set counts.
pub const OVERRIDES: &[Override] = &[
    Override { variable: "RHUMB_REGION", path: &["region"] },
    Override { variable: "REGION", path: &["region"] },
    Override { variable: "RHUMB_DATA", path: &["data"] },
    Override { variable: "RHUMB_HTTP", path: &["listeners", "http", "address"] },
    Override { variable: "RHUMB_PEER", path: &["listeners", "peer", "address"] },
    Override { variable: "RHUMB_RESP", path: &["listeners", "resp", "address"] },
    Override { variable: "RHUMB_S3", path: &["listeners", "s3", "address"] },
    Override { variable: "RHUMB_SQS", path: &["listeners", "sqs", "address"] },
    Override { variable: "RHUMB_CACHE", path: &["listeners", "cache", "address"] },
    Override { variable: "RHUMB_TLS_CERTIFICATE", path: &["tls", "certificate"] },
    Override { variable: "RHUMB_TLS_KEY", path: &["tls", "key"] },
    Override { variable: "RHUMB_LOG", path: &["log", "filter"] },
    Override { variable: "RHUMB_LOG_FORMAT", path: &["log", "format"] },
];

/// The process's own environment. A value that is not UTF-8, or empty, counts as not set.
#[must_use]
pub fn process_environment(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads it")]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A variable's name and value.
type Variable = (&'static str, String);

/// The overrides that are set: variable, value and path.
pub(crate) fn set(
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Vec<(Variable, &'static [&'static str])> {
    let mut found: Vec<(Variable, &'static [&'static str])> = Vec::new();
    for each in OVERRIDES {
        if found.iter().any(|(_, path)| *path == each.path) {
            continue;
        }
        if let Some(value) = lookup(each.variable) {
            found.push(((each.variable, value), each.path));
        }
    }
    found
}
