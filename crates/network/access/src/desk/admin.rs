//! What people do to a federation and its run.

use std::time::Duration;

use identity::{Role, RosterError, SignedRoster, Subject};
use params::Digest;
use secagg::ClientId;
use tonic::{Request, Response, Status, async_trait};
use wire::v1;
use wire::v1::admin_server::Admin;
use wire::v1::register_token_request::Purpose as SentPurpose;

use super::{Answer, Caller, Desk, caller, invalid, named, reason, status};
use crate::error::RegistryError;
use crate::registry::{Denial, Incident, Purpose, RequestState, Token, Whom};

#[async_trait]
impl Admin for Desk {
    async fn register_token(&self, request: Request<v1::RegisterTokenRequest>) -> Answer<v1::Done> {
        let v1::RegisterTokenRequest { secret_hash, expires_s, purpose } = request.into_inner();
        let hash = <[u8; 32]>::try_from(&secret_hash[..]);
        let hash = hash.map_err(|_| invalid("the hash of a token's secret has 32 bytes"))?;
        let purpose = match purpose {
            Some(SentPurpose::Silo(name)) => Purpose::Silo { name },
            Some(SentPurpose::Operator(v1::OperatorToken { name, role })) => {
                Purpose::Operator { name, role: role_of(&role)? }
            }
            None => return Err(invalid("a token is for a silo or for an operator; say which")),
        };
        let registered =
            self.0.registry.register_token(Digest::from_bytes(hash), purpose, expires_s, self.now_s());
        let token = registered.map_err(status)?;
        done(format!("token {} for {} is registered", token.id(), purpose_text(&token.purpose)))
    }

    async fn list_tokens(&self, _: Request<v1::ListTokensRequest>) -> Answer<v1::Tokens> {
        let now_s = self.now_s();
        let shown = |token: &Token| v1::TokenState {
            id: token.id(),
            purpose: purpose_text(&token.purpose),
            expires_s: token.expires_s,
            state: token.standing(now_s).to_owned(),
        };
        let tokens = self.0.registry.tokens().iter().map(shown).collect();
        Ok(Response::new(v1::Tokens { tokens }))
    }

    async fn withdraw_token(&self, request: Request<v1::WithdrawTokenRequest>) -> Answer<v1::Done> {
        let by = caller(&request)?.name;
        let token = self.0.registry.withdraw_token(&request.into_inner().id, &by).map_err(status)?;
        done(format!("token {} for {} is withdrawn", token.id(), purpose_text(&token.purpose)))
    }

    async fn issue_operator(&self, request: Request<v1::IssueOperatorRequest>) -> Answer<v1::Certificate> {
        let v1::IssueOperatorRequest { name, role, certificate_request, lifetime_s } = request.into_inner();
        let subject = Subject::operator(&name, role_of(&role)?).map_err(|why| invalid(&why.to_string()))?;
        self.0.registry.check_operator(&name).map_err(status)?;
        let lifetime = Duration::from_secs(lifetime_s);
        let most = self.0.lifetimes.operator_max;
        if lifetime.is_zero() || lifetime > most {
            let days = most.as_secs() / 86_400;
            return Err(invalid(&format!("an operator's certificate lives for 1 second to {days} days")));
        }
        let issued = self.issue(&certificate_request, &subject, lifetime)?;
        if let Some(role) = subject.role() {
            self.0.registry.note_operator(&name, role).map_err(status)?;
        }
        Ok(Response::new(issued))
    }

    async fn list_clients(&self, _: Request<v1::ListClientsRequest>) -> Answer<v1::Clients> {
        let (signed, roster) = self.roster().await?;
        let connected = self.0.operations.connected().await?;
        let denied = self.0.registry.denied().now();
        let mut clients = Vec::new();
        for (id, member) in &roster.members {
            let barred = denied.subject(&Subject::Silo(*id)).is_some();
            clients.push(v1::ClientEntry {
                id: id.0,
                name: member.name.clone(),
                identity_key: member.identity_key.clone(),
                fingerprint: member.fingerprint().unwrap_or_else(String::new),
                connected: connected.contains(id),
                ..standing(if barred { v1::Membership::Revoked } else { v1::Membership::Member })
            });
        }
        for admission in self.0.registry.admissions() {
            let membership = match admission.state {
                RequestState::Awaiting => v1::Membership::AwaitingApproval,
                RequestState::Refused { .. } => v1::Membership::Refused,
                RequestState::Admitted => continue,
            };
            clients.push(v1::ClientEntry {
                id: 0,
                name: admission.name,
                identity_key: admission.identity_key,
                fingerprint: admission.fingerprint,
                ..standing(membership)
            });
        }
        let roster = serde_json::to_string(&signed).map_err(|_| Status::internal("a roster"))?;
        Ok(Response::new(v1::Clients { clients, roster }))
    }

    async fn submit_roster(&self, request: Request<v1::SubmitRosterRequest>) -> Answer<v1::Done> {
        let by = caller(&request)?.name;
        let text = request.into_inner().roster;
        let signed: SignedRoster = serde_json::from_str(&text).map_err(|_| {
            roster_refused("it is no signed roster; send the file that `folkmoot roster sign` wrote")
        })?;
        let next = signed.authorise(&self.0.authority_key).map_err(|why| match why {
            RosterError::Signature => status(RegistryError::RosterSignature),
            why => roster_refused(&why.to_string()),
        })?;
        let _one_at_a_time = self.0.submitting.lock().await;
        let current = self.roster_in_force().await?;
        // The same one again completes what a crash may have left undone.
        if next.signed() != current.signed() {
            if next.federation != self.0.federation {
                return Err(roster_refused("it is of another federation"));
            }
            next.may_replace(&current).map_err(|why| match why {
                RosterError::Epoch { got, in_force } => status(RegistryError::RosterEpoch { got, in_force }),
                why => status(RegistryError::Roster(why.to_string())),
            })?;
            self.0.registry.check_roster(&next).map_err(status)?;
            self.0.operations.put_roster(next.signed().clone()).await?;
        }
        // Whoever left in the middle of a round was put out of the run too.
        for id in self.0.registry.left().into_iter().filter(|id| next.members.contains_key(id)) {
            let back = format!("the roster of epoch {} names it again", next.epoch);
            self.0.operations.restore(id, &back, &by).await?;
        }
        self.0.registry.settle_roster(&next, &by, self.now_s()).map_err(status)?;
        for id in current.members.keys().filter(|id| !next.members.contains_key(id)) {
            self.0.operations.remove(*id).await?;
        }
        done(format!("the roster of epoch {} with {} members is in force", next.epoch, next.members.len()))
    }

    async fn refuse_client(&self, request: Request<v1::RefuseClientRequest>) -> Answer<v1::Done> {
        let v1::RefuseClientRequest { name, reason } = request.into_inner();
        self.0.registry.refuse_request(&name, &reason).map_err(status)?;
        done(format!("the request of `{name}` is refused"))
    }

    async fn revoke_client(&self, request: Request<v1::RevokeClientRequest>) -> Answer<v1::Done> {
        let by = caller(&request)?;
        let v1::RevokeClientRequest { client, reason } = request.into_inner();
        let id = ClientId(client);
        let lasts = match self.bar(Whom::Client(id), &reason, &by) {
            Ok(lasts) => lasts,
            // Barred before: what follows may not have been done.
            Err(RegistryError::Settled { .. }) => "barred",
            Err(why) => return Err(status(why)),
        };
        self.0.operations.remove(id).await?;
        done(format!("silo {id} is {lasts} and its calls are ended; a new roster should leave it out"))
    }

    async fn revoke_access(&self, request: Request<v1::RevokeAccessRequest>) -> Answer<v1::Done> {
        let by = caller(&request)?;
        let v1::RevokeAccessRequest { whom: text, reason } = request.into_inner();
        let whom = Whom::operator_or_certificate(&text).map_err(status)?;
        if whom == Whom::Operator(by.name.clone()) {
            return Err(invalid("nobody bars themselves; ask another administrator to"));
        }
        let stranger = match &whom {
            Whom::Operator(name) if !self.0.registry.knows_operator(name) => Some(name.clone()),
            _ => None,
        };
        let lasts = self.bar(whom, &reason, &by).map_err(status)?;
        let mut done =
            v1::Done { text: format!("`{text}` is {lasts} and its calls are ended"), ..v1::Done::default() };
        // Not refused: what is known of names may be less than was issued, and a bar is wanted at once.
        if let Some(name) = stranger {
            done.text.push_str("; nobody of this name is known here");
            done.warning = format!(
                "nobody of the name `{name}` is known here: compare the spelling, and take a slip back by `folkmoot access \
                 restore {name}`. A silo is barred by `folkmoot clients revoke`. Of who got a certificate from `init`, `admin` or \
                 the first release only those are known that have called since the coordinator's start"
            );
        }
        Ok(Response::new(done))
    }

    async fn list_bars(&self, _: Request<v1::ListBarsRequest>) -> Answer<v1::Bars> {
        let (_, roster) = self.roster().await?;
        let name = |whom: &Whom| match whom {
            Whom::Client(id) => match roster.members.get(id) {
                Some(member) => Some(member.name.clone()),
                None => self.0.registry.enrolled_name(*id),
            },
            Whom::Certificate(_) | Whom::Operator(_) => None,
        };
        let shown = |denial: &Denial| v1::Bar {
            whom: denial.whom.to_string(),
            reason: denial.reason.clone(),
            by: denial.by.clone(),
            time_s: denial.time_s,
            kind: denial.kind().to_owned(),
            name: name(&denial.whom).unwrap_or_else(String::new),
        };
        let bars = self.0.registry.denials().iter().map(shown).collect();
        Ok(Response::new(v1::Bars { bars }))
    }

    async fn restore_client(&self, request: Request<v1::RestoreClientRequest>) -> Answer<v1::Done> {
        let by = caller(&request)?.name;
        let v1::RestoreClientRequest { client, reason: why } = request.into_inner();
        let (id, why) = (ClientId(client), reason(why)?);
        let _one_at_a_time = self.0.submitting.lock().await;
        let member = self.roster().await?.1.members.contains_key(&id);
        let lifted = self.0.registry.restore(&Whom::Client(id), member, &why, &by, self.now_s());
        // Lifted before, what follows may not have been done; and what a silo was caught at bars it in the run alone.
        if !(member && matches!(lifted, Err(RegistryError::NotBarred(_)))) {
            lifted.clone().map_err(status)?;
        }
        if !member {
            return done(format!(
                "silo {id} is barred no longer, but the roster in force does not name it; have it enrol again, or sign \
                 a roster that names it under its old number and key"
            ));
        }
        if !self.0.operations.restore(id, &why, &by).await? {
            lifted.map_err(status)?;
        }
        done(format!(
            "silo {id} is let in again; its daemon comes back by itself, or, if its certificate has expired meanwhile, \
             once its enrolment is run again"
        ))
    }

    async fn restore_access(&self, request: Request<v1::RestoreAccessRequest>) -> Answer<v1::Done> {
        let by = caller(&request)?.name;
        let v1::RestoreAccessRequest { whom: text, reason } = request.into_inner();
        let whom = Whom::operator_or_certificate(&text).map_err(status)?;
        self.0.registry.restore(&whom, true, &reason, &by, self.now_s()).map_err(status)?;
        done(format!("`{text}` is let in again"))
    }

    async fn pause(&self, request: Request<v1::PauseRequest>) -> Answer<v1::Done> {
        let by = caller(&request)?;
        let v1::PauseRequest { reason: why, run } = request.into_inner();
        done(self.0.operations.pause(named(&run)?, &reason(why)?, &by).await?)
    }

    async fn resume(&self, request: Request<v1::ResumeRequest>) -> Answer<v1::Done> {
        let by = caller(&request)?;
        done(self.0.operations.resume(named(&request.into_inner().run)?, &by).await?)
    }

    async fn quarantine(&self, request: Request<v1::QuarantineRequest>) -> Answer<v1::Done> {
        let by = caller(&request)?;
        let v1::QuarantineRequest { round, reason: why, run } = request.into_inner();
        done(self.0.operations.quarantine(named(&run)?, round, &reason(why)?, &by).await?)
    }

    async fn rollback(&self, request: Request<v1::RollbackRequest>) -> Answer<v1::Done> {
        let by = caller(&request)?;
        let v1::RollbackRequest { to_round, reason: why, run } = request.into_inner();
        done(self.0.operations.rollback(named(&run)?, to_round, &reason(why)?, &by).await?)
    }

    async fn reconcile(&self, request: Request<v1::ReconcileRequest>) -> Answer<v1::Done> {
        let by = caller(&request)?.name;
        let v1::ReconcileRequest { one, other, reason: why, run } = request.into_inner();
        let (one, other) = (ClientId(one), ClientId(other));
        done(self.0.operations.reconcile(named(&run)?, one, other, &reason(why)?, &by).await?)
    }

    async fn rotate_keys(&self, request: Request<v1::RotateKeysRequest>) -> Answer<v1::Done> {
        let by = caller(&request)?.name;
        done(self.0.operations.rotate_keys(&by).await?)
    }

    async fn open_incident(&self, request: Request<v1::OpenIncidentRequest>) -> Answer<v1::Incident> {
        let by = caller(&request)?.name;
        let title = request.into_inner().title;
        incident(self.0.registry.open_incident(&title, &by, self.now_ms()))
    }

    async fn note_incident(&self, request: Request<v1::NoteIncidentRequest>) -> Answer<v1::Incident> {
        let by = caller(&request)?.name;
        let v1::NoteIncidentRequest { id, text } = request.into_inner();
        incident(self.0.registry.note_incident(&id, &text, &by, self.now_ms()))
    }

    async fn close_incident(&self, request: Request<v1::CloseIncidentRequest>) -> Answer<v1::Incident> {
        let by = caller(&request)?.name;
        let v1::CloseIncidentRequest { id, resolution } = request.into_inner();
        incident(self.0.registry.close_incident(&id, &resolution, &by, self.now_ms()))
    }

    async fn list_incidents(&self, _: Request<v1::ListIncidentsRequest>) -> Answer<v1::Incidents> {
        let incidents = self.0.registry.incidents().into_iter().map(shown).collect();
        Ok(Response::new(v1::Incidents { incidents }))
    }
}

impl Desk {
    /// Bars somebody, for as long as the caller's role can; gives what that is in words.
    fn bar(&self, whom: Whom, reason: &str, by: &Caller) -> Result<&'static str, RegistryError> {
        let registry = &self.0.registry;
        if by.role == Some(Role::Admin) {
            return registry.deny(whom, reason, &by.name, self.now_s()).map(|()| "barred");
        }
        registry
            .suspend(whom, reason, &by.name, self.now_s())
            .map(|()| "suspended until an administrator lifts that, which binds no administrator,")
    }
}

/// Where somebody stands, by number, and for the first release's tools by word.
fn standing(membership: v1::Membership) -> v1::ClientEntry {
    v1::ClientEntry {
        state: membership.word().to_owned(),
        state_code: membership.into(),
        ..v1::ClientEntry::default()
    }
}

fn role_of(text: &str) -> Result<Role, Status> {
    text.parse().map_err(|why: identity::SubjectError| invalid(&why.to_string()))
}

fn purpose_text(purpose: &Purpose) -> String {
    match purpose {
        Purpose::Silo { name } => format!("silo {name}"),
        Purpose::Operator { name, role } => format!("{role} {name}"),
    }
}

fn roster_refused(why: &str) -> Status {
    status(RegistryError::Roster(why.to_owned()))
}

fn done(text: String) -> Answer<v1::Done> {
    Ok(Response::new(v1::Done { text, ..v1::Done::default() }))
}

fn incident(edited: Result<Incident, RegistryError>) -> Answer<v1::Incident> {
    edited.map(shown).map(Response::new).map_err(status)
}

fn shown(incident: Incident) -> v1::Incident {
    let Incident { id, title, opened_ms, opened_by, notes, closed_ms } = incident;
    let notes = notes.into_iter().map(|note| v1::IncidentNote {
        time_ms: note.time_ms,
        by: note.by,
        text: note.text,
    });
    v1::Incident { id, title, opened_ms, opened_by, notes: notes.collect(), closed_ms }
}
