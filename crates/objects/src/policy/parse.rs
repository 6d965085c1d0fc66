//! Reading a policy: first its form, then its meaning.

use rhumb_types::record::{BucketName, bucket::BUCKET_POLICY_BYTES_MAX};

use super::{
    Effect, Policy, PolicyError, Principals, Statement, action,
    condition::{Condition, Unknown},
    form::{EffectForm, PolicyForm, PrincipalForm, StatementForm, Texts},
    wildcard::Pattern,
};

/// Versions of the language. The older knows no variables, and neither is known here.
const VERSIONS: [&str; 2] = ["2012-10-17", "2008-10-17"];
/// What names of buckets and objects begin with.
const ARN: &str = "arn:aws:s3:::";

pub(super) fn policy(text: &str, bucket: &BucketName) -> Result<Policy, PolicyError> {
    if text.len() > BUCKET_POLICY_BYTES_MAX {
        return Err(PolicyError::TooLong { bytes: text.len(), most: BUCKET_POLICY_BYTES_MAX });
    }
    let form: PolicyForm = serde_json::from_str(text).map_err(|error| PolicyError::Form {
        line: error.line(),
        column: error.column(),
        reason: reason(&error),
    })?;
    if let Some(version) = form.version.filter(|version| !VERSIONS.contains(&version.as_str())) {
        let reason = format!("`{version}` is not known: use 2012-10-17");
        return Err(PolicyError::Meaning { at: "Version".to_owned(), reason });
    }
    if form.statement.0.is_empty() {
        return Err(wrong("Statement", "there must be at least one"));
    }
    let statements = form.statement.0.into_iter().enumerate();
    let statements = statements
        .map(|(at, form)| statement(&format!("Statement[{at}]"), form, bucket))
        .collect::<Result<_, _>>()?;
    Ok(Policy { bucket: bucket.clone(), statements })
}

/// What is wrong with the form, without the place, which is told beside it.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).map_or(text.clone(), str::to_owned)
}

fn wrong(at: &str, reason: impl Into<String>) -> PolicyError {
    PolicyError::Meaning { at: at.to_owned(), reason: reason.into() }
}

fn statement(at: &str, form: StatementForm, bucket: &BucketName) -> Result<Statement, PolicyError> {
    let effect = match form.effect {
        EffectForm::Allow => Effect::Allow,
        EffectForm::Deny => Effect::Deny,
    };
    let principal = form
        .principal
        .ok_or_else(|| wrong(at, "it names no Principal; `\"Principal\": \"*\"` is everyone"))?;
    let principals = principals(&format!("{at}.Principal"), principal)?;
    let (names, other_actions) = either(at, "Action", form.action, form.not_action)?;
    let actions = actions(&format!("{at}.{}", names.0), &names.1)?;
    let actions = if other_actions { actions.others() } else { actions };
    let (named, other_resources) = either(at, "Resource", form.resource, form.not_resource)?;
    let place = format!("{at}.{}", named.0);
    let resources = named.1.iter().map(|name| resource(&place, name, bucket));
    let resources = resources.collect::<Result<_, _>>()?;
    let mut conditions = Vec::new();
    for (operator, keys) in form.condition.0 {
        for (key, values) in keys.0 {
            let at = format!("{at}.Condition.{operator}.{key}");
            conditions.push(condition(&at, &operator, &key, &values.0)?);
        }
    }
    Ok(Statement { effect, principals, actions, resources, other_resources, conditions })
}

/// What is named, under which name, and whether all others are meant.
type Named = ((String, Vec<String>), bool);

fn either(
    at: &str,
    name: &str,
    these: Option<Texts>,
    others: Option<Texts>,
) -> Result<Named, PolicyError> {
    let (name, texts, not) = match (these, others) {
        (Some(texts), None) => (name.to_owned(), texts.0, false),
        (None, Some(texts)) => (format!("Not{name}"), texts.0, true),
        (None, None) => return Err(wrong(at, format!("it names no {name}"))),
        (Some(_), Some(_)) => {
            return Err(wrong(at, format!("it has both {name} and Not{name}")));
        }
    };
    if texts.is_empty() {
        return Err(wrong(&format!("{at}.{name}"), "there must be at least one"));
    }
    Ok(((name, texts), not))
}

fn principals(at: &str, form: PrincipalForm) -> Result<Principals, PolicyError> {
    let names = match form {
        PrincipalForm::Text(text) if text == "*" => return Ok(Principals::Everyone),
        PrincipalForm::Text(text) => {
            return Err(wrong(at, format!("`{text}` must be `*`, or {{\"AWS\": ...}}")));
        }
        PrincipalForm::Kinds(kinds) => kinds.0,
    };
    let (mut all, mut everyone) = (Vec::new(), false);
    for (kind, texts) in names {
        if kind != "AWS" {
            return Err(wrong(at, format!("`{kind}` is not known: use AWS")));
        }
        for text in texts.0 {
            if text == "*" {
                everyone = true;
            } else {
                all.push(principal(at, &text)?);
            }
        }
    }
    match (everyone, all.is_empty()) {
        (true, _) => Ok(Principals::Everyone),
        (false, true) => Err(wrong(at, "it names nobody")),
        (false, false) => Ok(Principals::Named(all)),
    }
}

/// A name, or an ARN that ends with one: `arn:aws:iam::123456789012:user/NAME`.
fn principal(at: &str, text: &str) -> Result<String, PolicyError> {
    let name = match text.strip_prefix("arn:aws:iam::") {
        Some(rest) => rest.split_once(":user/").map(|(_, name)| name),
        None => Some(text),
    };
    // `123456789012` is an account, and there are none.
    let plain = |name: &&str| {
        let account = name.len() == 12 && name.bytes().all(|byte| byte.is_ascii_digit());
        !name.is_empty() && !name.contains(['*', '?', ':', '$']) && !account
    };
    name.filter(plain).map(str::to_owned).ok_or_else(|| {
        wrong(at, format!("`{text}` is nobody here: use `*`, a name, or arn:aws:iam::ID:user/NAME"))
    })
}

fn actions(at: &str, names: &[String]) -> Result<action::Set, PolicyError> {
    names.iter().try_fold(action::Set::default(), |all, name| {
        let these = action::Set::named(name);
        if these.is_empty() {
            return Err(wrong(at, format!("`{name}` is no action of S3")));
        }
        Ok(all.and(these))
    })
}

fn resource(at: &str, name: &str, bucket: &BucketName) -> Result<Pattern, PolicyError> {
    if name.contains("${") {
        return Err(wrong(at, format!("`{name}`: variables are not known")));
    }
    let inside = || {
        let own = name.strip_prefix(ARN)?;
        let of = own.split_once('/').map_or(own, |(of, _)| of);
        Pattern::new(of).matches(bucket.as_str()).then_some(())
    };
    // A star may stand for a slash and all that follows, so that the bucket's part must match whole.
    if name != "*" && inside().is_none() {
        return Err(wrong(
            at,
            format!("`{name}` is not of this bucket: use {ARN}{bucket} or below"),
        ));
    }
    Ok(Pattern::new(name))
}

fn condition(
    at: &str,
    operator: &str,
    key: &str,
    values: &[String],
) -> Result<Condition, PolicyError> {
    if values.is_empty() {
        return Err(wrong(at, "there must be at least one value"));
    }
    if let Some(value) = values.iter().find(|value| value.contains("${")) {
        return Err(wrong(at, format!("`{value}`: variables are not known")));
    }
    Condition::new(operator, key, values).map_err(|unknown| match unknown {
        Unknown::Operator => wrong(at, format!("the operator `{operator}` is not known")),
        Unknown::Key => wrong(at, format!("the key `{key}` is not known")),
        Unknown::Pair => wrong(at, format!("`{operator}` does not go with `{key}`")),
        Unknown::Value(value) => wrong(at, format!("`{value}` is no value for `{operator}`")),
    })
}
