//! Uploads a file to several regions at once, and says what became of it in each.
//!
//! ```sh
//! export AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=...
//! cargo run --example upload -- photo.jpg 2026/photo.jpg \
//!   us-east-1=https://use1.acme.net:7403/photos eu-west-1=https://euw1.acme.net:7403/photos-eu
//! ```
//!
//! Ends with 0 when two regions have it, with 3 when one has, else with 1.

#![expect(clippy::print_stdout, reason = "it tells a person")]

use std::{env, error::Error, process::ExitCode};

use rhumb_ship::{
    Credentials, RegionId, Remote, Site, UploadSettings, UploadSource, Uploader, Verdict,
};

/// In how many regions the file is to be, where there are so many.
const COPIES: usize = 2;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    let [file, key, sites @ ..] = words.as_slice() else {
        return Err("upload FILE KEY REGION=ENDPOINT/BUCKET...".into());
    };
    let remotes = sites.iter().map(|site| remote(site)).collect::<Result<Vec<_>, _>>()?;

    let settings = UploadSettings {
        copies: COPIES.min(remotes.len()),
        min_copies: Some(1),
        ..UploadSettings::default()
    };
    let uploader = Uploader::new(remotes, settings)?;
    let uploaded = uploader.upload(key, UploadSource::File(file.into())).await?;

    for it in &uploaded.regions {
        match &it.result {
            Ok(()) => println!("{}: {} bytes", it.region, it.bytes),
            Err(reason) => println!("{}: {reason}", it.region),
        }
    }
    Ok(match uploaded.verdict {
        Verdict::Whole => ExitCode::SUCCESS,
        Verdict::Degraded => ExitCode::from(3),
        Verdict::Failed => ExitCode::FAILURE,
    })
}

/// Reads REGION=ENDPOINT/BUCKET.
fn remote(site: &str) -> Result<Remote, Box<dyn Error>> {
    let parts = site.split_once('=').and_then(|(region, url)| {
        let (endpoint, bucket) = url.rsplit_once('/')?;
        Some((region, endpoint, bucket))
    });
    let (region, endpoint, bucket) = parts.ok_or("write REGION=ENDPOINT/BUCKET")?;
    let of = |wanted: &str| env::vars().find(|(name, _)| name == wanted).map(|(_, value)| value);
    let mut site = Site::new(RegionId::new(region)?, endpoint, bucket);
    if let (Some(key_id), Some(secret)) = (of("AWS_ACCESS_KEY_ID"), of("AWS_SECRET_ACCESS_KEY")) {
        site = site.signed(Credentials { key_id, secret, token: of("AWS_SESSION_TOKEN") });
    }
    Ok(Remote::new(site)?)
}
