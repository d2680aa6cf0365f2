//! Addresses of buckets.

use std::fmt;

use rusty_s3::{Bucket, UrlStyle};

use crate::address::Credentials;
use crate::error::{BackendError, Failure};

/// A parsed `s3://bucket[/prefix][?endpoint=URL&region=NAME&style=path|host]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Location {
    bucket: String,
    /// Without slashes at its ends.
    prefix: String,
    endpoint: String,
    region: String,
    path_style: bool,
}

impl fmt::Display for S3Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        write!(f, " at {}", self.endpoint)
    }
}

impl S3Location {
    /// From an address. Without an endpoint it is Amazon's of the region, which is `us-east-1` where nothing names one; with one the
    /// bucket's name is part of the path, as self-hosted stores have it, unless `style=host` says otherwise.
    pub fn parse(address: &str, credentials: &Credentials) -> Result<Self, BackendError> {
        let wrong = |reason: &str| {
            let shown: String = address.chars().take(300).collect();
            BackendError::new(Failure::Denied, format!("`{shown}` is no address of a bucket: {reason}"))
                .with_hint("write it as `s3://bucket/prefix?endpoint=https://host:9000&region=us-east-1`")
        };
        let rest = address.strip_prefix("s3://").ok_or_else(|| wrong("it does not begin with `s3://`"))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        let prefix = prefix.trim_matches('/');
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if bucket.len() < 3 || !bucket.chars().all(plain) {
            return Err(wrong("the bucket's name is not made of three or more letters, digits, `-`, `.` and `_`"));
        }
        let segment =
            |segment: &str| !segment.is_empty() && segment != "." && segment != ".." && segment.chars().all(plain);
        if !prefix.is_empty() && !prefix.split('/').all(segment) {
            return Err(wrong("the prefix is not made of letters, digits, `-`, `.`, `_` and `/`"));
        }
        let (mut endpoint, mut region, mut style) = (credentials.endpoint.clone(), credentials.region.clone(), None);
        for (key, value) in
            query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        {
            match (key, value) {
                ("endpoint", url) => endpoint = Some(url.to_owned()),
                ("region", name) if !name.is_empty() => region = Some(name.to_owned()),
                ("style", "path") => style = Some(true),
                ("style", "host") => style = Some(false),
                _ => return Err(wrong("it may have `endpoint`, `region` and `style=path` or `style=host`")),
            }
        }
        let region = region.unwrap_or_else(|| "us-east-1".to_owned());
        let path_style = style.unwrap_or(endpoint.is_some());
        let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") || endpoint.contains('@') {
            return Err(wrong("the endpoint is not `http://…` or `https://…`"));
        }
        let location = Self { bucket: bucket.to_owned(), prefix: prefix.to_owned(), endpoint, region, path_style };
        location.bucket().map_err(|error| wrong(&error.message))?;
        Ok(location)
    }

    pub(super) fn bucket(&self) -> Result<Bucket, BackendError> {
        let wrong =
            |error: &dyn fmt::Display| BackendError::new(Failure::Denied, format!("`{}`: {error}", self.endpoint));
        let endpoint = self.endpoint.parse().map_err(|_| wrong(&"this is no URL"))?;
        let style = if self.path_style { UrlStyle::Path } else { UrlStyle::VirtualHost };
        Bucket::new(endpoint, style, self.bucket.clone(), self.region.clone()).map_err(|error| wrong(&error))
    }

    /// The key of an object.
    pub(super) fn key(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(address: &str) -> Result<S3Location, BackendError> {
        S3Location::parse(address, &Credentials::default())
    }

    #[test]
    fn addresses() {
        let amazon = parse("s3://builds").unwrap();
        assert_eq!(amazon.to_string(), "s3://builds at https://s3.us-east-1.amazonaws.com");
        assert_eq!(amazon.bucket().unwrap().base_url().as_str(), "https://builds.s3.us-east-1.amazonaws.com/");
        assert_eq!(amazon.key("cas/x"), "cas/x");
        let own = parse("s3://builds/team/cache/?endpoint=http://minio:9000&region=eu").unwrap();
        assert_eq!(own.bucket().unwrap().base_url().as_str(), "http://minio:9000/builds/");
        assert_eq!(own.key("cas/x"), "team/cache/cas/x");
        let surroundings = Credentials {
            region: Some("eu-central-1".into()),
            endpoint: Some("https://store:1".into()),
            ..Credentials::default()
        };
        let told = S3Location::parse("s3://builds?style=host", &surroundings).unwrap();
        assert_eq!(told.bucket().unwrap().base_url().as_str(), "https://builds.store:1/");
        assert_eq!(told.region, "eu-central-1");
    }

    #[test]
    fn what_is_no_address_is_told() {
        for wrong in [
            "s3://",
            "s3://b",
            "s3://bucket/../x",
            "s3://bucket/a b",
            "s3://bu$cket",
            "s3://bucket?endpoint=minio:9000",
            "s3://bucket?endpoint=ftp://x",
            "s3://bucket?endpoint=http://user:secret@host",
            "s3://bucket?what=x",
            "s3://bucket?style=odd",
            "http://bucket",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
