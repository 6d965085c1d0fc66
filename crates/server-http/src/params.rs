//! Query strings and percent-encoding.
//!
//! Names and values are bytes, because keys are. Every parameter must be one that the route knows,
//! once: a misspelt option is an error and not a default.

use bytes::Bytes;
use http::Uri;

use crate::{limits::PARAMETERS_MAX, problem::Problem};

/// The parameters of a request that nobody has asked for yet.
#[derive(Debug)]
pub(crate) struct Params(Vec<(String, Bytes)>);

impl Params {
    /// Reads the query of an address (`application/x-www-form-urlencoded`).
    pub(crate) fn of(uri: &Uri) -> Result<Self, Problem> {
        let mut params: Vec<(String, Bytes)> = Vec::new();
        let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        for pair in pairs {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let plain = |text: &str| percent_decode(&text.replace('+', " "));
            let (name, value) = (plain(name)?, plain(value)?);
            let name = String::from_utf8(name.to_vec())
                .map_err(|_| Problem::invalid("a parameter's name is not UTF-8"))?;
            if params.iter().any(|(known, _)| *known == name) {
                return Err(Problem::invalid(format!("the parameter `{name}` occurs twice")));
            }
            if params.len() >= PARAMETERS_MAX {
                let many = format!("there are more than {PARAMETERS_MAX} parameters");
                return Err(Problem::invalid(many));
            }
            params.push((name, value));
        }
        Ok(Self(params))
    }

    /// Takes a parameter's bytes.
    pub(crate) fn bytes(&mut self, name: &str) -> Option<Bytes> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Takes a parameter's text.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let Some(value) = self.bytes(name) else { return Ok(None) };
        let text = String::from_utf8(value.to_vec());
        text.map(Some).map_err(|_| Problem::invalid(format!("`{name}` is not UTF-8")))
    }

    /// Takes a parameter as something that texts can be read as; `what` says what that is.
    pub(crate) fn read<T>(
        &mut self,
        name: &str,
        what: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let value = read(&text).ok_or_else(|| {
            Problem::invalid(format!("`{name}={}` is not {what}", text.escape_default()))
        })?;
        Ok(Some(value))
    }

    /// Takes a whole number within bounds.
    pub(crate) fn number(
        &mut self,
        name: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, Problem> {
        let what = format!("a number from {} to {}", range.start(), range.end());
        self.read(name, &what, |text| text.parse().ok().filter(|number| range.contains(number)))
    }

    /// Takes a yes or a no.
    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, Problem> {
        let read = |text: &str| match text {
            "" | "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        };
        Ok(self.read(name, "true or false", read)?.unwrap_or(false))
    }

    /// Refuses what nobody asked for.
    pub(crate) fn done(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::invalid(format!(
                "there is no parameter `{}` here",
                name.escape_default()
            ))),
        }
    }
}

/// Takes percent-encoding away (RFC 3986 section 2.1).
pub(crate) fn percent_decode(text: &str) -> Result<Bytes, Problem> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        let digits = rest.split_first_chunk::<2>().and_then(|([high, low], after)| {
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
            Some((digit(*high)? << 4 | digit(*low)?, after))
        });
        let Some((byte, after)) = digits else {
            let help = "Write a percent sign itself as %25.";
            let what = "a percent sign is not followed by two hexadecimal digits";
            return Err(Problem::invalid(what).help(help));
        };
        out.push(byte);
        rest = after;
    }
    Ok(out.into())
}

/// Reads a time span: a whole number with `ms`, `s`, `m`, `h` or `d`; seconds without a unit.
pub(crate) fn duration_millis(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let millis = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(millis)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn params(query: &str) -> Result<Params, Problem> {
        Params::of(&format!("/x?{query}").parse().unwrap())
    }

    #[test]
    fn parameters_are_bytes_and_each_is_known_and_single() {
        let mut read = params("key=%ff%00+a%2B&limit=7&quiet").unwrap();
        assert_eq!(read.bytes("key").unwrap(), &b"\xff\x00 a+"[..]);
        assert_eq!(read.number("limit", 1..=9).unwrap(), Some(7));
        assert!(read.flag("quiet").unwrap());
        assert!(read.done().is_ok());
        assert!(params("a=1&a=2").is_err());
        assert!(params("a=%f").is_err());
        assert!(params("a=%zz").is_err());
        assert!(params("limit=10").unwrap().number("limit", 1..=9).is_err());
        assert!(params("a=%ff").unwrap().text("a").is_err());
        assert!(params("a=1").unwrap().done().is_err());
        let many: Vec<String> = (0..=PARAMETERS_MAX).map(|n| format!("p{n}=")).collect();
        assert!(params(&many.join("&")).is_err());
    }

    proptest! {
        #[test]
        fn what_is_percent_encoded_comes_back(key in proptest::collection::vec(any::<u8>(), 0..64)) {
            let text: String = key.iter().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(&percent_decode(&text).unwrap()[..], &key[..]);
            let mut read = params(&format!("key={text}")).unwrap();
            prop_assert_eq!(&read.bytes("key").unwrap()[..], &key[..]);
        }

        #[test]
        fn any_query_is_read_or_refused(query in "[ -~&&[^#]]{0,80}") {
            if let Ok(uri) = format!("/x?{}", query.replace(' ', "+")).parse() {
                let _read_or_refused = Params::of(&uri);
            }
        }
    }

    #[test]
    fn time_spans_have_units() {
        assert_eq!(duration_millis("30"), Some(30_000));
        assert_eq!(duration_millis("250ms"), Some(250));
        assert_eq!(duration_millis("2d"), Some(172_800_000));
        for bad in ["", "s", "1w", "-1s", "1.5s", "99999999999999999999d", "18446744073709551615d"]
        {
            assert_eq!(duration_millis(bad), None, "{bad}");
        }
    }
}
