//! The reader against messages that an encoder of another hand has written.

use proptest::prelude::*;
use prost::Message;

use super::*;

/// As in `remote_execution.proto`; what is named differently there has the same tag.
mod api {
    use prost::Message;

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Digest {
        #[prost(string, tag = "1")]
        pub(super) hash: String,
        #[prost(int64, tag = "2")]
        pub(super) size_bytes: i64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct OutputFile {
        #[prost(string, tag = "1")]
        pub(super) path: String,
        #[prost(message, optional, tag = "2")]
        pub(super) digest: Option<Digest>,
        #[prost(bool, tag = "4")]
        pub(super) is_executable: bool,
        #[prost(bytes = "vec", tag = "5")]
        pub(super) contents: Vec<u8>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct OutputDirectory {
        #[prost(string, tag = "1")]
        pub(super) path: String,
        #[prost(message, optional, tag = "3")]
        pub(super) tree_digest: Option<Digest>,
        #[prost(bool, tag = "4")]
        pub(super) is_topologically_sorted: bool,
        #[prost(message, optional, tag = "5")]
        pub(super) root_directory_digest: Option<Digest>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct ActionResult {
        #[prost(message, repeated, tag = "2")]
        pub(super) output_files: Vec<OutputFile>,
        #[prost(message, repeated, tag = "3")]
        pub(super) output_directories: Vec<OutputDirectory>,
        #[prost(int32, tag = "4")]
        pub(super) exit_code: i32,
        #[prost(bytes = "vec", tag = "5")]
        pub(super) stdout_raw: Vec<u8>,
        #[prost(message, optional, tag = "6")]
        pub(super) stdout_digest: Option<Digest>,
        #[prost(message, optional, tag = "8")]
        pub(super) stderr_digest: Option<Digest>,
    }

    /// A file or a directory in a directory.
    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Node {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(message, optional, tag = "2")]
        pub(super) digest: Option<Digest>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Directory {
        #[prost(message, repeated, tag = "1")]
        pub(super) files: Vec<Node>,
        #[prost(message, repeated, tag = "2")]
        pub(super) directories: Vec<Node>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Tree {
        #[prost(message, optional, tag = "1")]
        pub(super) root: Option<Directory>,
        #[prost(message, repeated, tag = "2")]
        pub(super) children: Vec<Directory>,
    }
}

fn wire(digest: &Digest) -> api::Digest {
    let hash = digest.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    api::Digest { hash, size_bytes: i64::try_from(digest.bytes).unwrap() }
}

fn file(digest: &Digest) -> api::OutputFile {
    api::OutputFile {
        path: "out/a".to_owned(),
        digest: Some(wire(digest)),
        is_executable: true,
        contents: b"a".to_vec(),
    }
}

fn nodes(digests: &[Digest]) -> Vec<api::Node> {
    let node = |digest: &Digest| api::Node { name: "n".to_owned(), digest: Some(wire(digest)) };
    digests.iter().map(node).collect()
}

fn digest() -> impl Strategy<Value = Digest> {
    (any::<[u8; 32]>(), 0..u64::try_from(i64::MAX).unwrap())
        .prop_map(|(hash, bytes)| Digest { hash, bytes })
}

fn digests() -> impl Strategy<Value = Vec<Digest>> {
    proptest::collection::vec(digest(), 0..6)
}

proptest! {
    #[test]
    fn everything_that_an_action_result_names_is_found(
        files in digests(),
        directories in proptest::collection::vec(
            (proptest::option::of(digest()), proptest::option::of(digest())), 0..4),
        outputs in (proptest::option::of(digest()), proptest::option::of(digest())),
        code in any::<i32>(),
    ) {
        let result = api::ActionResult {
            output_files: files.iter().map(file).collect(),
            output_directories: directories.iter().map(|(tree, root)| api::OutputDirectory {
                path: "d".to_owned(),
                tree_digest: tree.as_ref().map(wire),
                is_topologically_sorted: true,
                root_directory_digest: root.as_ref().map(wire),
            }).collect(),
            exit_code: code,
            stdout_raw: b"said".to_vec(),
            stdout_digest: outputs.0.as_ref().map(wire),
            stderr_digest: outputs.1.as_ref().map(wire),
        };
        let named = action_result(&result.encode_to_vec()).unwrap();
        let blobs: Vec<Digest> = files.into_iter().chain(outputs.0).chain(outputs.1).collect();
        prop_assert_eq!(named.blobs, blobs);
        prop_assert_eq!(named.trees, directories.iter().filter_map(|it| it.0).collect::<Vec<_>>());
        let roots = directories.iter().filter_map(|it| it.1).collect::<Vec<_>>();
        prop_assert_eq!(named.directories, roots);
    }

    #[test]
    fn the_files_of_a_tree_and_of_a_directory_are_found(
        root in digests(), below in digests(), children in proptest::collection::vec(digests(), 0..4),
    ) {
        let of = |files: &[Digest]| api::Directory {
            files: nodes(files),
            directories: nodes(&below),
        };
        let message = api::Tree {
            root: Some(of(&root)),
            children: children.iter().map(|files| of(files)).collect(),
        };
        let expected: Vec<Digest> = root.iter().chain(children.iter().flatten()).copied().collect();
        prop_assert_eq!(tree(&message.encode_to_vec()).unwrap(), expected);
        let named = directory(&of(&root).encode_to_vec()).unwrap();
        prop_assert_eq!((named.blobs, named.directories), (root, below));
    }

    /// No bytes make the reader fail otherwise than by its errors, and what it reads is in the bytes.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for named in [action_result(&bytes), directory(&bytes)].into_iter().flatten() {
            prop_assert!(named.blobs.len() + named.trees.len() <= bytes.len());
        }
        if let Ok(files) = tree(&bytes) {
            prop_assert!(files.len() <= bytes.len());
        }
    }

    #[test]
    fn what_is_cut_off_is_refused_or_names_less(files in digests(), cut in any::<prop::sample::Index>()) {
        let result = api::ActionResult {
            output_files: files.iter().map(file).collect(),
            exit_code: 1,
            ..Default::default()
        };
        let bytes = result.encode_to_vec();
        let cut = cut.index(bytes.len());
        if let Ok(named) = action_result(&bytes[..cut]) {
            prop_assert!(named.blobs.len() <= files.len());
            prop_assert_eq!(&named.blobs[..], &files[..named.blobs.len()]);
        }
    }
}

#[test]
fn what_is_no_action_result_is_refused() {
    assert_eq!(action_result(b""), Err(NotRead::Empty));
    // An entry of ccache.
    assert_eq!(action_result(&[0xcc, 0xac, 0, 1]), Err(NotRead::Damaged));
    assert_eq!(action_result(&[0x10, 1]), Err(NotRead::Type(2)), "a file that is a number");
    assert_eq!(action_result(&[0x22, 0]), Err(NotRead::Type(4)), "a code that is a message");
    let bad = |hash: &str, size_bytes| {
        let digest = Some(api::Digest { hash: hash.to_owned(), size_bytes });
        let stdout = api::ActionResult { stdout_digest: digest, ..Default::default() };
        action_result(&stdout.encode_to_vec())
    };
    let hash = "0".repeat(64);
    assert!(bad(&hash, 1).is_ok());
    for (hash, size) in [("", 1), (hash.as_str(), -1), (&hash[1..], 1), (&"G".repeat(64), 1)] {
        assert_eq!(bad(hash, size), Err(NotRead::Digest), "{hash}");
    }
    assert_eq!(bad(&"A".repeat(64), 1), Err(NotRead::Digest), "one blob has one name");
}

#[test]
fn a_small_message_asks_for_little() {
    let many: Vec<u8> = std::iter::repeat_n([0x12, 0], 4 << 20).flatten().collect();
    assert_eq!(action_result(&many), Ok(Named::default()), "files without digests");
    let digest = Digest { hash: EMPTY, bytes: 0 };
    assert!(digest.is_empty());
    let output_files = vec![file(&digest); NAMED_MAX + 1];
    let result = api::ActionResult { output_files, ..Default::default() };
    assert_eq!(action_result(&result.encode_to_vec()), Err(NotRead::TooMany));
}
