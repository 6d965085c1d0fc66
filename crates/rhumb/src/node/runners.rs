//! The CI runners of a node: from the words of the configuration and the files that it names.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use rhumb_config::{
    Config,
    settings::{HookOfGitHub, RunnerLevel, RunnersSettings, SetSettings},
};
use rhumb_engine::{Engine, OsEntropy, telemetry::Metrics};
use rhumb_peer::Identity;
use rhumb_ports::{BoxFuture, clock::Entropy};
use rhumb_regions::ResidencyTag;
use rhumb_runners::{
    Accounts, ExecutorConfig, Here, LabelSet, Place, Runners, RunnersConfig, Secrets, SetConfig,
    capacity::SetLimits,
    dispatch::Level,
    executor::HttpConfig,
    github::{Auth, Hook, Outside},
    origin,
};
use rhumb_server_http::Workflows;
use rhumb_types::RegionId;
use serde_json::{Value, json};

use super::settings;

/// Starts the runners, where the configuration has them and this node holds data.
pub(super) fn start(
    config: &Config,
    identity: &Identity,
    engine: &Engine,
    metrics: &Arc<Metrics>,
) -> Result<Option<Arc<dyn Workflows>>> {
    let Some(settings) = &config.settings().runners else { return Ok(None) };
    let region = &identity.region;
    if engine.queues().is_none() {
        return Ok(None);
    }
    let folder = settings::data_directory(config, region).join("runners");
    let accounts = accounts(settings)?;
    let sets = settings.sets.iter().map(|(name, set)| self::set(region, name, set));
    let runners = RunnersConfig {
        secrets: secrets(settings)?,
        api: Place::new(&settings.api, settings.authorities.as_deref())?,
        auth: auth(settings)?,
        sets: sets.collect::<Result<_>>()?,
        owners: settings.owners.iter().cloned().collect(),
        accounts,
        hooks: settings.hooks.iter().map(hook).collect::<Result<_>>()?,
        folder,
        reconcile_every: settings.reconcile_every.0,
        start_timeout: settings.start_timeout.0,
    };
    let own = config.registry().get(region);
    let residency = own.map(|region| region.residency.clone()).unwrap_or_default();
    let here = Here {
        node: identity.node,
        region: region.clone(),
        residency: residency.into_iter().collect(),
        outside: outside(engine),
        metrics: metrics.clone(),
    };
    let runners = Runners::start(runners, engine, here)?;
    Ok(Some(Arc::new(Served(runners))))
}

fn outside(engine: &Engine) -> Outside {
    let engine = engine.clone();
    Outside {
        now: Arc::new(move || engine.clock().now()),
        random: Arc::new(|| OsEntropy.next_u64()),
    }
}

/// A secret, without the line end that editors add.
fn secret(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path);
    let text = text.with_context(|| format!("the secret in {} cannot be read", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn secrets(settings: &RunnersSettings) -> Result<Secrets> {
    let texts = settings.webhook_secrets.iter().map(|path| secret(path));
    Ok(Secrets::new(&texts.collect::<Result<Vec<_>>>()?)?)
}

fn auth(settings: &RunnersSettings) -> Result<Auth> {
    if let Some(app) = &settings.app {
        let key = secret(&app.key)?;
        return Ok(Auth::app(&app.id, key.as_bytes(), app.installation)?);
    }
    let Some(token) = &settings.token else { bail!("`runners` has neither `token` nor `app`") };
    Ok(Auth::token(&secret(token)?)?)
}

fn accounts(settings: &RunnersSettings) -> Result<Accounts> {
    let mut accounts = Accounts::default();
    for (account, place) in &settings.geography {
        accounts.geography.insert(account.clone(), origin(place)?);
    }
    for (account, tags) in &settings.residency {
        let tags = tags.iter().map(|tag| ResidencyTag::new(tag)).collect::<Result<_, _>>()?;
        accounts.residency.insert(account.clone(), tags);
    }
    Ok(accounts)
}

fn set(region: &RegionId, name: &str, set: &SetSettings) -> Result<SetConfig> {
    let most = *set.max_in.get(region).unwrap_or(&set.max);
    let limits = SetLimits {
        runners_max: usize::try_from(most)?,
        starting_max: usize::try_from(set.burst)?,
    };
    let executor = match (&set.command, &set.http) {
        (Some(command), _) => {
            ExecutorConfig::Process { command: command.clone(), template: set.template.clone() }
        }
        (None, Some(launcher)) => ExecutorConfig::Http(HttpConfig {
            place: Place::new(&launcher.url, launcher.authorities.as_deref())?,
            secrets: Secrets::new(&[secret(&launcher.secret)?])?,
        }),
        (None, None) => bail!("the set `{name}` has neither `command` nor `http`"),
    };
    let level = match set.level {
        RunnerLevel::Organisation => Level::Organisation,
        RunnerLevel::Repository => Level::Repository,
    };
    let labels = LabelSet::new(name, &set.labels)?;
    Ok(SetConfig { labels, limits, level, group: set.group, executor })
}

fn hook(settings: &HookOfGitHub) -> Result<Hook> {
    let HookOfGitHub { app, organisation, repository, id } = settings;
    match (app, organisation, repository, id) {
        (true, None, None, None) => Ok(Hook::App),
        (false, Some(name), None, Some(id)) => Ok(Hook::Organisation(name.clone(), *id)),
        (false, None, Some(name), Some(id)) => Ok(Hook::Repository(name.clone(), *id)),
        _ => bail!("a webhook under `runners.hooks` is not named as one"),
    }
}

/// The runners, as the HTTP server knows them.
struct Served(Runners);

impl Workflows for Served {
    fn webhook(&self, headers: http::HeaderMap, body: Bytes) -> BoxFuture<'static, (u16, Value)> {
        let runners = self.0.clone();
        Box::pin(async move {
            let answer = runners.webhook(&headers, body).await;
            (answer.status, answer.body)
        })
    }

    fn status(&self) -> Result<Value, String> {
        let regions = self.0.regions().map_err(|error| error.to_string())?;
        Ok(json!({ "regions": regions }))
    }
}
