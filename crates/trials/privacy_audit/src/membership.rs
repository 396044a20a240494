use datasets::Dataset;
use params::Params;
use plan::Plan;

use crate::error::AuditError;
use crate::findings::Membership;

/// Loss-threshold membership inference: what was trained on has the smaller loss. `None` where one of the tables is empty.
///
/// # Errors
/// [`AuditError::Train`]
pub fn membership(
    plan: &Plan,
    model: &Params,
    members: &Dataset,
    others: &Dataset,
) -> Result<Option<Membership>, AuditError> {
    let scores = |data| -> Result<Vec<f64>, AuditError> {
        let losses = train::losses(plan, model, data)?;
        Ok(losses.into_iter().map(|loss| -loss).collect())
    };
    let attack = empirical::membership::attack(&scores(members)?, &scores(others)?);
    Ok(attack.map(|attack| Membership::of(members.rows(), others.rows(), attack)))
}
