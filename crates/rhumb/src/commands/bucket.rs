//! `rhumb bucket`: buckets and their settings.

use std::process::ExitCode;

use anyhow::Result;
use rhumb_types::record::BucketName;
use serde_json::{Map, Value};

use super::{
    queue::shown::print,
    settings::Thing,
    show::{items, word},
};
use crate::{
    cli::{Bucket, BucketCommand, BucketSettings},
    http::{Ask, Http},
    table::table,
};

/// What buckets are under.
const PATH: &str = "/v1/buckets";

/// Does what was asked.
pub(crate) fn run(args: &Bucket) -> Result<ExitCode> {
    use BucketCommand as C;
    match &args.command {
        C::List { asked } => print(asked, &Http::new(&asked.node)?.json(Ask::get(PATH))?, list)?,
        C::Show { bucket, asked } => {
            print(asked, &Http::new(&asked.node)?.json(of(bucket))?, lines)?;
        }
        C::Create { bucket, settings, change } => thing(bucket).create(said(settings), change)?,
        C::Change { bucket, settings, unset, change } => {
            thing(bucket).alter(said(settings), unset, change)?;
        }
        C::Delete { bucket, change } => thing(bucket).delete(change)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn of(bucket: &BucketName) -> Ask {
    Ask::get(PATH).part(bucket.as_str().as_bytes())
}

fn thing(bucket: &BucketName) -> Thing<'_> {
    Thing { path: PATH, name: bucket.as_str(), lines }
}

/// The settings that were given, by their names.
fn said(settings: &BucketSettings) -> Map<String, Value> {
    let texts = [
        ("replication", &settings.replication),
        ("strategy", &settings.strategy),
        ("consistency", &settings.consistency),
        ("ack", &settings.ack),
        ("versioning", &settings.versioning),
        ("miss", &settings.miss),
    ];
    let texts = texts.into_iter().filter_map(|(name, text)| Some((name, text.clone()?.into())));
    let numbers = [
        ("copies", settings.copies.map(u64::from)),
        ("min_copies", settings.min_copies.map(u64::from)),
        ("inline_max", settings.inline_max),
        ("cache_bytes_max", settings.cache_max.map(|size| size.0)),
        ("promote_after", settings.promote_after.map(u64::from)),
    ];
    let numbers = numbers.into_iter().filter_map(|(name, number)| Some((name, number?.into())));
    let regions = settings.regions.iter().map(|region| region.as_str().into()).collect();
    let residency = settings.residency.iter().map(|tag| tag.as_str().into()).collect();
    let lists: [(&str, Vec<Value>); 2] = [("regions", regions), ("residency", residency)];
    let lists = lists.into_iter().filter(|(_, list)| !list.is_empty());
    let lists = lists.map(|(name, list)| (name, list.into()));
    texts.chain(numbers).chain(lists).map(|(name, value)| (name.to_owned(), value)).collect()
}

fn list(answer: &Value) -> Vec<String> {
    let row = |bucket: &Value| -> [String; 6] {
        [
            word(bucket, "/bucket"),
            word(bucket, "/settings/replication"),
            word(bucket, "/settings/copies"),
            word(bucket, "/settings/consistency"),
            word(bucket, "/settings/versioning"),
            word(bucket, "/settings/ack"),
        ]
    };
    let rows: Vec<_> = items(answer, "/buckets").iter().map(row).collect();
    table(["bucket", "replication", "copies", "consistency", "versioning", "ack"], &rows)
}

/// A line per setting.
fn lines(answer: &Value) -> Vec<String> {
    let mut rows = vec![["bucket".to_owned(), word(answer, "/bucket")]];
    let settings = answer.get("settings").and_then(Value::as_object);
    for (name, value) in settings.into_iter().flatten() {
        let value = match value {
            Value::Array(words) => {
                words.iter().map(|it| word(it, "")).collect::<Vec<_>>().join(", ")
            }
            value => word(value, ""),
        };
        rows.push([name.clone(), value]);
    }
    rows.push(["version".to_owned(), word(answer, "/version")]);
    table(["setting", "value"], &rows)
}
