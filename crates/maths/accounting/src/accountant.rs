//! The accountants, by name: what each says that releases have spent, and what noise it asks for.

use serde::Serialize;

use crate::calibrate::{CalibrationError, NoiseMultiplier, calibrate_by};
use crate::event::{AccountingError, DpEvent};
use crate::fractional::{default_orders, fractional_epsilon};
use crate::pld::pld_epsilon;
use crate::rdp::{ORDER_MAX, ORDER_MIN, RdpCurve, conversion};

/// Who states an epsilon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accountant {
    /// Rényi differential privacy at integer orders: what plans and ledgers are held to, proven for the discrete noise.
    IntegerRdp,
    /// At fractional orders, of the continuous Gaussian. Batches of fixed size are accounted at integer orders here too.
    FractionalRdp,
    /// Privacy loss distributions, of the continuous Gaussian.
    Pld,
}

/// An epsilon, and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EpsilonSpent {
    /// Infinite where no finite one can be stated.
    pub epsilon: f64,
    /// `rdp` or `pld`.
    pub accountant: &'static str,
    /// Of RDP: the order that gave the least epsilon.
    pub order: Option<f64>,
}

impl Accountant {
    /// What so many releases of one kind have spent.
    ///
    /// # Errors
    /// An event or a delta that means nothing, and batches of fixed size for [`Accountant::Pld`].
    pub fn spent(self, event: DpEvent, steps: u64, delta: f64) -> Result<EpsilonSpent, AccountingError> {
        match self {
            Self::Pld => {
                let epsilon = pld_epsilon(&[(event, steps)], delta)?;
                Ok(EpsilonSpent { epsilon, accountant: "pld", order: None })
            }
            Self::FractionalRdp if !matches!(event, DpEvent::FixedSizeGaussian { .. }) => {
                let spent = fractional_epsilon(&[(event, steps)], delta)?;
                Ok(EpsilonSpent { epsilon: spent.epsilon, accountant: "rdp", order: Some(spent.order) })
            }
            Self::IntegerRdp | Self::FractionalRdp => {
                let mut curve = RdpCurve::zero();
                curve.compose(&event, steps)?;
                let spent = curve.epsilon(delta)?;
                Ok(EpsilonSpent {
                    epsilon: spent.epsilon,
                    accountant: "rdp",
                    order: Some(f64::from(spent.order)),
                })
            }
        }
    }

    /// The smallest noise multiplier, rounded up to 1/10000, with which `steps` Poisson samples spend no more than `epsilon` by
    /// this accountant, and what they then spend.
    ///
    /// # Errors
    /// As [`calibrate_by`].
    pub fn calibrate(
        self,
        epsilon: f64,
        delta: f64,
        sampling_rate: f64,
        steps: u64,
    ) -> Result<(NoiseMultiplier, EpsilonSpent), CalibrationError> {
        let spent = |noise_multiplier| {
            self.spent(DpEvent::PoissonGaussian { sampling_rate, noise_multiplier }, steps, delta)
        };
        let noise = calibrate_by(epsilon, sampling_rate, steps, |noise| Ok(spent(noise)?.epsilon));
        let noise = noise.map_err(|why| why.below_floor_of(self, delta))?;
        Ok((noise, spent(noise.value())?))
    }

    /// The least epsilon that it can state at this delta, whatever the noise, and by which orders; none of
    /// [`Accountant::Pld`], which converts nothing.
    pub(crate) fn floor(self, delta: f64) -> Option<(f64, &'static str)> {
        let least = |orders: &mut dyn Iterator<Item = f64>| {
            orders.map(|order| conversion(order, delta)).fold(f64::INFINITY, f64::min)
        };
        match self {
            Self::IntegerRdp => {
                Some((least(&mut (ORDER_MIN..=ORDER_MAX).map(f64::from)), "RDP at integer orders up to 256"))
            }
            Self::FractionalRdp => {
                Some((least(&mut default_orders().into_iter()), "RDP at fractional orders up to 1024"))
            }
            Self::Pld => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Accountant; 3] = [Accountant::IntegerRdp, Accountant::FractionalRdp, Accountant::Pld];

    #[test]
    fn the_sharper_accountants_spend_less_and_each_says_where_its_figure_comes_from() {
        let event = DpEvent::PoissonGaussian { sampling_rate: 0.01, noise_multiplier: 1.0 };
        let [integer, fractional, pld] = ALL.map(|by| by.spent(event, 1000, 1e-5).unwrap());
        assert!(pld.epsilon < fractional.epsilon && fractional.epsilon < integer.epsilon);
        assert_eq!((integer.order, fractional.order, pld.order), (Some(8.0), Some(7.8), None));
        assert_eq!([integer, fractional, pld].map(|spent| spent.accountant), ["rdp", "rdp", "pld"]);
    }

    #[test]
    fn batches_of_fixed_size_are_accounted_at_integer_orders_or_not_at_all() {
        let event = DpEvent::FixedSizeGaussian { sampling_rate: 0.01, noise_multiplier: 2.0 };
        let [integer, fractional, pld] = ALL.map(|by| by.spent(event, 100, 1e-5));
        assert_eq!(integer.unwrap(), fractional.unwrap());
        assert!(pld.is_err());
    }

    #[test]
    fn calibrated_noise_spends_what_is_said_beside_it() {
        for by in ALL {
            let (noise, spent) = by.calibrate(3.0, 1e-5, 0.05, 100).unwrap();
            let event = |noise_multiplier| DpEvent::PoissonGaussian { sampling_rate: 0.05, noise_multiplier };
            assert_eq!(by.spent(event(noise.value()), 100, 1e-5).unwrap(), spent, "{by:?}");
            assert!(spent.epsilon <= 3.0, "{by:?}");
            assert!(by.spent(event(noise.value() - 1e-3), 100, 1e-5).unwrap().epsilon > 3.0, "{by:?}");
        }
    }
}
