//! Two functions of the runtime's `bb.fetch2` that every recipe calls: for local files, downloads, and git repositories whose
//! revision is given. What they ask and write is what `bb/fetch2/__init__.py` does, in the same order.

use std::sync::Arc;

use super::Stop;
use super::object::Object;
use super::run::{Machine, Outcome};
use super::uri::Uri;
use crate::{Text, Value};

/// Where the runtime keeps the URLs that were looked at, with their revisions, as long as a datastore lives.
const FETCHED: &str = "__BBFETCHED";
const DOWNLOADS: [&str; 4] = ["http", "https", "ftp", "ftps"];
/// Other kinds of sources that are not local files.
const REMOTE: [&str; 12] = ["svn", "git", "gitsm", "gitannex", "sftp", "s3", "p4", "hg", "repo", "az", "crate", "gs"];
const GIT_PROTOCOLS: [&str; 6] = ["git", "file", "ssh", "http", "https", "rsync"];

/// A URL whose parameters say nothing unusual.
fn source(url: &str) -> Outcome<Uri> {
    if url.contains("${") {
        return Err(Stop::Python);
    }
    let uri = Uri::parse(url)?;
    let odd = uri.parameters.iter().any(|(name, value)| match &**name {
        "proto" | "localpath" | "rev" | "usehead" | "rebaseable" => true,
        "name" => value.as_deref().is_none_or(|name| name.is_empty() || name.contains(',')),
        _ => value.is_none(),
    });
    if odd { Err(Stop::Python) } else { Ok(uri) }
}

fn parameter<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    uri.parameters.iter().find(|(known, _)| **known == *name).and_then(|(_, value)| value.as_deref())
}

fn is_hash(text: &str) -> bool {
    [40, 64].contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl Machine<'_> {
    fn text_of(&mut self, store: usize, var: &str) -> Outcome<Text> {
        self.get(store, &var.into(), true)?.text().cloned()
    }

    /// The URLs of `SRC_URI`, each once.
    fn source_urls(&mut self, store: usize) -> Outcome<Vec<Text>> {
        let text = self.text_of(store, "SRC_URI")?;
        let mut urls: Vec<Text> = Vec::new();
        for word in super::super::native::words(&text).ok_or(Stop::Python)? {
            if !urls.iter().any(|known| **known == *word) {
                urls.push(word.into());
            }
        }
        Ok(urls)
    }

    /// `get_hashvalue(d)`: the revisions of all sources that have one.
    pub(super) fn source_revisions(&mut self, store: usize) -> Outcome {
        self.set(store, "__BBSRCREV_SEEN", "1".into(), false)?;
        if self.get(store, &"__BBINSRCREV".into(), true)?.truth()? {
            return Err(Stop::Python);
        }
        self.set(store, "__BBINSRCREV", Value::Bool(true), false)?;
        let mut urls = self.source_urls(store)?;
        if urls.is_empty() {
            urls = self.source_urls(store)?;
        }
        if self.get(store, &FETCHED.into(), false)?.truth()? {
            return Err(Stop::Python);
        }
        let mut revisions: Vec<Text> = Vec::new();
        let mut fetched: Vec<Value> = Vec::new();
        for url in &urls {
            let uri = source(url)?;
            let mut own = Value::None;
            match &*uri.scheme {
                "file" => {}
                "git" => {
                    let revision = self.git_revision(store, &uri)?;
                    own = Value::Str(Text::clone(&revision));
                    revisions.push(revision);
                }
                scheme if DOWNLOADS.contains(&scheme) => {
                    let last = uri.path.rsplit('/').next().unwrap_or_default();
                    let name = parameter(&uri, "downloadfilename").filter(|name| !name.is_empty()).unwrap_or(last);
                    if !name.is_empty() {
                        self.text_of(store, "DL_DIR")?;
                    }
                }
                _ => return Err(Stop::Python),
            }
            fetched.push(Value::Tuple(Arc::new(vec![Value::Str(Text::clone(url)), own])));
        }
        if !fetched.is_empty() {
            self.set(store, FETCHED, Value::List(Arc::new(fetched)), false)?;
        }
        if revisions.len() > 1 && self.text_of(store, "SRCREV_FORMAT")?.is_empty() {
            return Err(Stop::Python);
        }
        self.delete(store, "__BBINSRCREV")?;
        Ok(Object::Str(revisions.join(" ").into()))
    }

    /// The revision of a git repository that the metadata gives in full.
    fn git_revision(&mut self, store: usize, uri: &Uri) -> Outcome<Text> {
        let default = if uri.host.is_empty() { "file" } else { "git" };
        let protocol = parameter(uri, "protocol").filter(|protocol| !protocol.is_empty()).unwrap_or(default);
        let no_branch = parameter(uri, "nobranch") == Some("1");
        let branch = parameter(uri, "branch").unwrap_or_default();
        let old = protocol == "git" && *uri.host == *"github.com";
        if old || !GIT_PROTOCOLS.contains(&protocol) || (branch.is_empty() && !no_branch) {
            return Err(Stop::Python);
        }
        let name = parameter(uri, "name").unwrap_or("default");
        let recipe = self.text_of(store, "PN")?;
        if recipe.is_empty() {
            return Err(Stop::Python);
        }
        let candidates = [
            format!("SRCREV_{name}:pn-{recipe}"),
            format!("SRCREV_{name}"),
            format!("SRCREV:pn-{recipe}"),
            "SRCREV".to_owned(),
        ];
        let mut revision = Object::None;
        for candidate in candidates {
            revision = self.get(store, &candidate.into(), true)?;
            if revision.truth()? && !matches!(&revision, Object::Str(text) if **text == *"INVALID") {
                break;
            }
        }
        let revision = revision.text()?.clone();
        if !is_hash(&revision) {
            return Err(Stop::Python);
        }
        self.text_of(store, "DL_DIR")?;
        self.get(store, &"GITDIR".into(), true)?;
        Ok(revision)
    }

    /// `get_checksum_file_list(d)`: every place where a local source was looked for, and whether it was there.
    pub(super) fn local_sources(&mut self, store: usize) -> Outcome {
        let mut local = Vec::new();
        for url in self.source_urls(store)? {
            let scheme = url.split(':').next().unwrap_or_default();
            if url.contains("${") {
                return Err(Stop::Python);
            }
            if DOWNLOADS.contains(&scheme) || REMOTE.contains(&scheme) {
                // It must be a URL for Python, too.
                Uri::parse(&url)?;
            } else if scheme == "file" {
                local.push(source(&url)?);
            } else {
                return Err(Stop::Python);
            }
        }
        let mut entries = Vec::new();
        for uri in local {
            if uri.path.starts_with('/') {
                if self.type_at(&uri.path)? == '-' {
                    return Err(Stop::Python);
                }
                entries.push(format!("{}:True", uri.path));
                continue;
            }
            let path = self.text_of(store, "FILESPATH")?;
            let mut found = false;
            for directory in path.split(':') {
                let place = crate::metadata::join(directory, &uri.path);
                found = self.type_at(&place)? != '-';
                entries.push(format!("{place}:{}", if found { "True" } else { "False" }));
                if found {
                    break;
                }
            }
            // An empty directory is the working directory, which is Python's.
            if !found || path.is_empty() || path.split(':').any(|directory| !directory.starts_with('/')) {
                return Err(Stop::Python);
            }
        }
        Ok(Object::Str(entries.join(" ").into()))
    }
}
