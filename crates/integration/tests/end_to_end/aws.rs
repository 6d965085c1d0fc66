//! What tests with clients of AWS share: their keys, their Python, and regions that ask for either a
//! signature or TLS.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rhumb_config::settings::{AccessKeySettings, ListenerSettings, ListenersSettings, Settings};
use rhumb_integration::{Cluster, Layout, programs};
use rhumb_types::control::ApiRole;

use crate::encrypted::Authority;

/// Ids and secrets: of an operator, of a reader, and of a team that is limited to names of its own.
pub(crate) const KEYS: [(&str, &str, ApiRole, &[&str]); 3] = [
    ("AKIDOPERATOR", "operator-secret-0123456789", ApiRole::Operator, &[]),
    ("AKIDREADER", "reader-secret-0123456789", ApiRole::Reader, &[]),
    ("AKIDTEAM", "team-secret-0123456789", ApiRole::Operator, &["team-"]),
];

/// The server that a test is about.
pub(crate) type Which = fn(&mut ListenersSettings) -> Option<&mut ListenerSettings>;

/// The tests' Python, if it has these modules.
pub(crate) fn python(modules: &str) -> Option<PathBuf> {
    let import = format!("import {modules}");
    programs::python().filter(|path| programs::answers(path, &["-c", &import]))
}

/// A script of the tests.
pub(crate) fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name)
}

/// Regions whose server asks for the keys, which lie in a folder.
pub(crate) fn asking(regions: usize, secrets: &Path, which: Which) -> Cluster {
    let key = |(id, secret, role, reach): &(&str, &str, ApiRole, &[&str])| {
        let secret_file = secrets.join(id);
        fs::write(&secret_file, format!("{secret}\n")).unwrap();
        let reach: Vec<String> = reach.iter().map(|prefix| (*prefix).to_owned()).collect();
        let (id, role) = ((*id).to_owned(), *role);
        AccessKeySettings { id, secret_file, role, queues: reach.clone(), buckets: reach }
    };
    let keys: Vec<AccessKeySettings> = KEYS.iter().map(key).collect();
    let asks = move |settings: &mut Settings| {
        settings.acl.access_keys = keys;
        let regions = settings.regions.values_mut();
        regions.filter_map(|it| which(&mut it.listeners)).for_each(|it| it.auth = true);
    };
    Layout::regions(regions).adjust(asks).start().unwrap()
}

/// One region whose server has a certificate of an authority.
pub(crate) fn encrypting(authority: &Authority, which: Which) -> Cluster {
    let tls = authority.settings();
    let encrypt = move |settings: &mut Settings| {
        settings.tls = Some(tls);
        let regions = settings.regions.values_mut();
        regions.filter_map(|it| which(&mut it.listeners)).for_each(|it| it.tls = true);
    };
    Layout::regions(1).adjust(encrypt).start().unwrap()
}
