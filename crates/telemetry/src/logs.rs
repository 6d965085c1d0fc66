//! What the process writes to its log.

use std::io;

use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
};

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One line per event for a person, in colour on a terminal.
    #[default]
    Human,
    /// One JSON object per line.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// The form of a line.
    pub format: LogFormat,
    /// Levels and targets, such as `info,rhumb_peer=debug`; the syntax of
    /// `tracing_subscriber::EnvFilter`.
    pub filter: String,
    /// Whether human lines carry colour.
    pub colour: bool,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Human, filter: "info".to_owned(), colour: false }
    }
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error("read the log filter `{filter}`: use levels and targets as in `info,rhumb_peer=debug`")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The process has a subscriber already.
    #[error("set up the log twice in one process")]
    Twice(#[source] tracing::subscriber::SetGlobalDefaultError),
}

/// Sends the process's log to standard error.
///
/// # Errors
/// [`LogError`] for a filter that cannot be read, or a second call.
pub fn install(settings: &LogSettings) -> Result<(), LogError> {
    let subscriber = subscriber(settings, io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(LogError::Twice)
}

/// A subscriber that writes where it is told.
///
/// # Errors
/// [`LogError::Filter`] when the filter cannot be read.
pub fn subscriber<W>(
    settings: &LogSettings,
    writer: W,
) -> Result<impl Subscriber + Send + Sync + 'static, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder()
        .parse(&settings.filter)
        .map_err(|source| LogError::Filter { filter: settings.filter.clone(), source })?;
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match settings.format {
        LogFormat::Human => {
            fmt::layer().with_ansi(settings.colour).with_writer(writer).with_filter(filter).boxed()
        }
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_writer(writer)
            .with_filter(filter)
            .boxed(),
    };
    Ok(Registry::default().with(lines))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(settings: &LogSettings) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(settings, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(region = "us-east-1", lag = 3, "caught up");
            tracing::debug!("too fine");
        });
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_lines_are_objects_with_fields() {
        let text = logged(&LogSettings { format: LogFormat::Json, ..LogSettings::default() });
        assert_eq!(text.lines().count(), 1, "the filter holds back debug: {text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "caught up");
        assert_eq!(line["region"], "us-east-1");
        assert_eq!(line["lag"], 3);
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn human_lines_have_no_colour_unless_asked() {
        let plain = logged(&LogSettings::default());
        assert!(plain.contains("caught up") && !plain.contains('\u{1b}'), "{plain}");
        let coloured = logged(&LogSettings { colour: true, ..LogSettings::default() });
        assert!(coloured.contains('\u{1b}'), "{coloured}");
    }

    #[test]
    fn a_bad_filter_is_told_with_an_example() {
        let settings = LogSettings { filter: "info,=,x=loud".to_owned(), ..LogSettings::default() };
        let error = subscriber(&settings, io::sink).err().unwrap();
        assert!(error.to_string().contains("`info,=,x=loud`"), "{error}");
    }
}
