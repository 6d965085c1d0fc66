//! The form of a policy: which names there are, and where lists may stand.
//!
//! No name stands twice, and none that is not known: of both a reader would overlook something.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct PolicyForm {
    #[serde(default)]
    pub(super) version: Option<String>,
    #[serde(default, rename = "Id")]
    _id: Option<String>,
    pub(super) statement: Statements,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct StatementForm {
    #[serde(default, rename = "Sid")]
    _sid: Option<String>,
    pub(super) effect: EffectForm,
    #[serde(default)]
    pub(super) principal: Option<PrincipalForm>,
    #[serde(default)]
    pub(super) action: Option<Texts>,
    #[serde(default)]
    pub(super) not_action: Option<Texts>,
    #[serde(default)]
    pub(super) resource: Option<Texts>,
    #[serde(default)]
    pub(super) not_resource: Option<Texts>,
    #[serde(default)]
    pub(super) condition: Pairs<Pairs<Texts>>,
}

#[derive(Deserialize)]
pub(super) enum EffectForm {
    Allow,
    Deny,
}

pub(super) enum PrincipalForm {
    Text(String),
    Kinds(Pairs<Texts>),
}

/// One statement, or several.
pub(super) struct Statements(pub(super) Vec<StatementForm>);

/// One text, or several; numbers and truths are texts too.
pub(super) struct Texts(pub(super) Vec<String>);

/// Names and what they stand for, each name once.
pub(super) struct Pairs<T>(pub(super) Vec<(String, T)>);

impl<T> Default for Pairs<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de> Deserialize<'de> for Statements {
    fn deserialize<D: Deserializer<'de>>(form: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Statements;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a statement, or a list of statements")
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Statements, M::Error> {
                let one = StatementForm::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Statements(vec![one]))
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut all: S) -> Result<Statements, S::Error> {
                let mut statements = Vec::new();
                while let Some(one) = all.next_element()? {
                    statements.push(one);
                }
                Ok(Statements(statements))
            }
        }
        form.deserialize_any(Read)
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(form: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, or a list of strings")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![text.to_owned()]))
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Texts, E> {
                Ok(Texts(vec![value.to_string()]))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Texts, E> {
                Ok(Texts(vec![value.to_string()]))
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut all: S) -> Result<Texts, S::Error> {
                let mut texts = Vec::new();
                while let Some(One(text)) = all.next_element()? {
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }
        form.deserialize_any(Read)
    }
}

/// One text in a list of them.
struct One(String);

impl<'de> Deserialize<'de> for One {
    fn deserialize<D: Deserializer<'de>>(form: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a list holds strings, numbers and truths")]
        enum Any {
            Text(String),
            Truth(bool),
            Number(u64),
        }
        Ok(Self(match Any::deserialize(form)? {
            Any::Text(text) => text,
            Any::Truth(truth) => truth.to_string(),
            Any::Number(number) => number.to_string(),
        }))
    }
}

impl<'de> Deserialize<'de> for PrincipalForm {
    fn deserialize<D: Deserializer<'de>>(form: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = PrincipalForm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`*`, or {\"AWS\": ...}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PrincipalForm, E> {
                Ok(PrincipalForm::Text(text.to_owned()))
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<PrincipalForm, M::Error> {
                let kinds = Pairs::deserialize(MapAccessDeserializer::new(map))?;
                Ok(PrincipalForm::Kinds(kinds))
            }
        }
        form.deserialize_any(Read)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(form: D) -> Result<Self, D::Error> {
        form.deserialize_map(ReadPairs(PhantomData))
    }
}

struct ReadPairs<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ReadPairs<T> {
    type Value = Pairs<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names and what they stand for")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Pairs<T>, M::Error> {
        let mut pairs: Vec<(String, T)> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            // Of two the reader of a policy would overlook one.
            if pairs.iter().any(|(other, _)| *other == name) {
                return Err(de::Error::custom(format!("`{name}` is there twice")));
            }
            pairs.push((name, map.next_value()?));
        }
        Ok(Pairs(pairs))
    }
}
