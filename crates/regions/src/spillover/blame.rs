//! Whose errors are they: the region's, or the tenant's?
//!
//! A tenant whose jobs fail wherever they run would push a healthy region into spilling, and its
//! jobs would then fail elsewhere too. Such a tenant is tripped, and its results do not count
//! against the region.

use super::Sample;

/// From this share of failures on, a tenant's jobs are failing. In whole numbers: one in two.
const FAILING: (u64, u64) = (1, 2);

/// Results of one tenant's jobs, in the same window of observation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Results {
    /// All results,
    pub results: u64,
    /// of which failed.
    pub errors: u64,
}

impl Results {
    fn is_failing(self, samples_min: u64) -> bool {
        let (part, whole) = FAILING;
        self.results >= samples_min
            && self.errors.saturating_mul(whole) >= self.results.saturating_mul(part)
    }

    const fn without(self, other: Self) -> Self {
        Self {
            results: self.results.saturating_sub(other.results),
            errors: self.errors.saturating_sub(other.errors),
        }
    }
}

/// One tenant's results, here and elsewhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tenant<T> {
    /// Who.
    pub tenant: T,
    /// In this region.
    pub here: Results,
    /// In all other regions together.
    pub elsewhere: Results,
}

/// The tenants whose errors follow their jobs, and the results that remain for the region.
///
/// A tenant is tripped when its jobs fail here and in other regions too; or, when they ran nowhere
/// else, when they fail here while those of all other tenants do not.
pub fn blame<T: Clone>(
    region: Results,
    tenants: &[Tenant<T>],
    samples_min: u64,
) -> (Vec<T>, Results) {
    let follows = |tenant: &&Tenant<T>| {
        let others = region.without(tenant.here);
        tenant.here.is_failing(samples_min)
            && if tenant.elsewhere.results >= samples_min {
                tenant.elsewhere.is_failing(samples_min)
            } else {
                others.results >= samples_min && !others.is_failing(samples_min)
            }
    };
    let tripped = tenants.iter().filter(follows);
    tripped.fold((Vec::new(), region), |(mut names, rest), tenant| {
        names.push(tenant.tenant.clone());
        (names, rest.without(tenant.here))
    })
}

impl Sample {
    /// The same sample with what remains for the region.
    #[must_use]
    pub const fn with_results(self, of_region: Results) -> Self {
        Self { results: of_region.results, errors: of_region.errors, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn results(results: u64, errors: u64) -> Results {
        Results { results, errors }
    }

    #[test]
    fn errors_that_follow_the_job_trip_the_tenant() {
        let bad = Tenant { tenant: "bad", here: results(40, 38), elsewhere: results(30, 29) };
        let good = Tenant { tenant: "good", here: results(60, 1), elsewhere: results(0, 0) };
        let (tripped, rest) = blame(results(100, 39), &[bad, good], 20);
        assert_eq!(tripped, ["bad"]);
        assert_eq!(rest, results(60, 1));
    }

    #[test]
    fn errors_that_stay_with_the_region_trip_nobody() {
        let one = Tenant { tenant: 1, here: results(50, 40), elsewhere: results(50, 0) };
        let two = Tenant { tenant: 2, here: results(50, 45), elsewhere: results(0, 0) };
        let (tripped, rest) = blame(results(100, 85), &[one, two], 20);
        assert!(tripped.is_empty());
        assert_eq!(rest, results(100, 85));
    }

    #[test]
    fn a_few_failures_prove_nothing() {
        let few = Tenant { tenant: (), here: results(19, 19), elsewhere: results(0, 0) };
        assert!(blame(results(100, 19), &[few], 20).0.is_empty());
    }
}
