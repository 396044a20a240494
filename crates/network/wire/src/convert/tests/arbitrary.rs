//! Messages for the tests: any, one of each kind, and the largest.

use checkpoint::SignedManifest;
use identity::SignedRoster;
use messages::{
    Attempt, CoordinatorFault, Decline, Rejection, RoundOutcome, RunEnd, SandboxLevel, ToClient,
    ToCoordinator, UploadHeader,
};
use params::Digest;
use plan::SignedPlan;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use secagg::{
    Advert, ClientId, Complaint, ComplaintReason, DeliveredShare, Delivery, EXCESS_COHORT_MAX,
    IncludedSignature, OpenedShare, R1, SealedShare, ShareBundle, ShareCommitments, SignedRoot, UnmaskShares,
    sealed_share_bytes,
};

use super::{CheckpointRecord, ModelHeader, limits};

const AT: Attempt = Attempt { round: 3, attempt: 1 };
const MEMBERS: usize = limits::COHORT_MAX;

pub(super) fn to_client() -> impl Strategy<Value = ToClient> {
    prop_oneof![
        (digest(), signed_plan(), signed_roster(), vec(signed_roster(), 0..4)).prop_map(
            |(run_id, plan, roster, between)| ToClient::Welcome {
                run_id,
                plan: Box::new(plan),
                roster: Box::new(roster),
                between,
            }
        ),
        signed_manifest().prop_map(ToClient::Published),
        (at(), digest()).prop_map(|(at, model)| ToClient::Open { at, model }),
        (at(), vec(advert(), 0..9)).prop_map(|(at, adverts)| ToClient::Adverts { at, adverts }),
        (at(), vec(signed_root(), 0..9), vec(delivered_share(), 0..9)).prop_map(|(at, members, shares)| {
            ToClient::Deliver { at, delivery: Delivery { members, shares } }
        }),
        at().prop_map(|at| ToClient::UploadDurable { at }),
        (at(), vec(client(), 0..9)).prop_map(|(at, included)| ToClient::Included { at, included }),
        (at(), vec(client(), 0..9), vec(included_signature(), 0..9))
            .prop_map(|(at, included, signatures)| { ToClient::UnmaskRequest { at, included, signatures } }),
        (at(), round_outcome()).prop_map(|(at, outcome)| ToClient::Aborted { at, outcome }),
        rejection().prop_map(|rejection| ToClient::Rejected { rejection }),
        run_end().prop_map(|reason| ToClient::Finished { reason }),
    ]
}

fn sandbox() -> impl Strategy<Value = SandboxLevel> {
    "off|(required|best_effort)(: [a-z]{1,12}( [0-9a-f]{1,12})?(, [a-z]{1,12}( [0-9a-f]{1,12})?){0,5})?"
        .prop_map(|text| text.parse().unwrap())
}

pub(super) fn to_coordinator() -> impl Strategy<Value = ToCoordinator> {
    prop_oneof![
        (any::<Option<u64>>(), option::of(digest()), option::of(sandbox()))
            .prop_map(|(head, data, sandbox)| ToCoordinator::CheckIn { head, data, sandbox }),
        (any::<Option<u64>>(), decline())
            .prop_map(|(round, reason)| ToCoordinator::Declined { round, reason }),
        (at(), advert()).prop_map(|(at, advert)| ToCoordinator::Advertise { at, advert }),
        (at(), client(), vec(sealed_share(), 0..9), any::<[u8; 64]>()).prop_map(
            |(at, sender, shares, signature)| {
                ToCoordinator::ShareKeys { at, bundle: ShareBundle { sender, shares, signature } }
            }
        ),
        (at(), complaint()).prop_map(|(at, complaint)| ToCoordinator::Complain { at, complaint }),
        (at(), included_signature())
            .prop_map(|(at, signature)| ToCoordinator::SignIncluded { at, signature }),
        (at(), client(), opened_shares(), opened_shares(), opened_shares()).prop_map(
            |(at, id, self_mask, round_seed, noise)| {
                ToCoordinator::Unmask { at, shares: UnmaskShares { id, self_mask, round_seed, noise } }
            }
        ),
    ]
}

pub(super) fn upload_header() -> impl Strategy<Value = UploadHeader> {
    (client(), at(), digest(), digest(), 1..=limits::LANES_MAX, any::<[u8; 64]>()).prop_map(
        |(client, at, r2, digest, lanes, signature)| UploadHeader {
            client,
            at,
            r2,
            digest,
            lanes,
            signature,
        },
    )
}

pub(super) fn model_header() -> impl Strategy<Value = ModelHeader> {
    let chunk_bytes = 1..=limits::CHUNK_BYTES_MAX as u32;
    (any::<u64>(), digest(), digest(), 1..=limits::MODEL_BYTES_MAX, chunk_bytes).prop_map(
        |(round, model, sha256, total_bytes, chunk_bytes)| ModelHeader {
            round,
            model,
            sha256,
            total_bytes,
            chunk_bytes,
        },
    )
}

pub(super) fn checkpoint_record() -> impl Strategy<Value = CheckpointRecord> {
    (any::<u64>(), signed_manifest()).prop_map(|(round, signed)| CheckpointRecord { round, signed })
}

pub(super) fn welcome() -> ToClient {
    let [plan, author, signature, roster] = ["p", "a", "s", "r"].map(String::from);
    ToClient::Welcome {
        run_id: Digest::sha256(b"run"),
        plan: Box::new(SignedPlan { plan, author, signature: signature.clone() }),
        roster: Box::new(SignedRoster { roster, signature }),
        between: vec![],
    }
}

fn signed_plan() -> impl Strategy<Value = SignedPlan> {
    (".{0,99}", "[0-9a-f]{64}", "[0-9a-f]{128}").prop_map(|(plan, author, signature)| SignedPlan {
        plan,
        author,
        signature,
    })
}

fn signed_roster() -> impl Strategy<Value = SignedRoster> {
    (".{0,99}", "[0-9a-f]{128}").prop_map(|(roster, signature)| SignedRoster { roster, signature })
}

pub(super) fn published() -> ToClient {
    ToClient::Published(SignedManifest { manifest_bytes: vec![1], signature: [2; 64] })
}

pub(super) fn cohort_roster() -> ToClient {
    ToClient::Adverts { at: AT, adverts: vec![an_advert(); 2] }
}

pub(super) fn deliver() -> ToClient {
    let members = vec![a_signed_root(); 2];
    ToClient::Deliver { at: AT, delivery: Delivery { members, shares: vec![a_delivered_share(2, 0)] } }
}

pub(super) fn unmask_request() -> ToClient {
    let signatures = vec![IncludedSignature { id: ClientId(1), signature: [1; 64] }];
    ToClient::UnmaskRequest { at: AT, included: vec![ClientId(1)], signatures }
}

pub(super) fn share_keys() -> ToCoordinator {
    ToCoordinator::ShareKeys { at: AT, bundle: a_bundle(2, 0) }
}

pub(super) fn complain() -> ToCoordinator {
    let (accuser, accused) = (ClientId(1), ClientId(2));
    let complaint =
        Complaint { r1: R1([1; 32]), accuser, accused, reason: ComplaintReason::Sealing, signature: [1; 64] };
    ToCoordinator::Complain { at: AT, complaint }
}

pub(super) fn unmask() -> ToCoordinator {
    ToCoordinator::Unmask { at: AT, shares: some_unmask_shares(1) }
}

pub(super) fn largest_to_client() -> Vec<ToClient> {
    let digest = Digest::sha256(b"");
    let hex = |bytes: usize| "0".repeat(bytes);
    let plan = SignedPlan {
        plan: "x".repeat(limits::PLAN_BYTES_MAX),
        author: hex(limits::HEX_BYTES_MAX),
        signature: hex(limits::HEX_BYTES_MAX),
    };
    let roster =
        SignedRoster { roster: "x".repeat(limits::ROSTER_BYTES_MAX), signature: hex(limits::HEX_BYTES_MAX) };
    let manifest_bytes = vec![1; limits::MANIFEST_BYTES_MAX];
    let part = limits::ROSTERS_BETWEEN_BYTES_MAX / limits::ROSTERS_BETWEEN_MAX;
    let one = SignedRoster { roster: "r".repeat(part), signature: "s".repeat(limits::HEX_BYTES_MAX) };
    let between = vec![one; limits::ROSTERS_BETWEEN_MAX];
    let included = vec![ClientId(u32::MAX); MEMBERS];
    let delivery = |members: usize, links| Delivery {
        members: vec![a_signed_root(); members],
        shares: vec![a_delivered_share(limits::MERKLE_PATH_MAX, links); members],
    };
    let signatures = vec![IncludedSignature { id: ClientId(u32::MAX), signature: [1; 64] }; MEMBERS];
    vec![
        ToClient::Welcome { run_id: digest, plan: Box::new(plan), roster: Box::new(roster), between },
        ToClient::Published(SignedManifest { manifest_bytes, signature: [1; 64] }),
        ToClient::Adverts { at: AT, adverts: vec![an_advert(); MEMBERS] },
        ToClient::Deliver { at: AT, delivery: delivery(MEMBERS, 0) },
        ToClient::Deliver { at: AT, delivery: delivery(EXCESS_COHORT_MAX, limits::NOISE_LINKS_MAX) },
        ToClient::UnmaskRequest { at: AT, included, signatures },
    ]
}

pub(super) fn largest_to_coordinator() -> Vec<ToCoordinator> {
    let text = "x".repeat(limits::TEXT_BYTES_MAX);
    vec![
        ToCoordinator::Declined { round: Some(1), reason: Decline::Policy { code: text.clone(), text } },
        ToCoordinator::ShareKeys { at: AT, bundle: a_bundle(MEMBERS, 0) },
        ToCoordinator::ShareKeys { at: AT, bundle: a_bundle(EXCESS_COHORT_MAX, limits::NOISE_LINKS_MAX) },
        ToCoordinator::Unmask { at: AT, shares: some_unmask_shares(MEMBERS) },
    ]
}

pub(super) fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

fn client() -> impl Strategy<Value = ClientId> {
    any::<u32>().prop_map(ClientId)
}

fn at() -> impl Strategy<Value = Attempt> {
    (1..=u64::MAX, 1..=u32::MAX).prop_map(|(round, attempt)| Attempt { round, attempt })
}

fn signed_manifest() -> impl Strategy<Value = SignedManifest> {
    (vec(any::<u8>(), 0..99), any::<[u8; 64]>())
        .prop_map(|(manifest_bytes, signature)| SignedManifest { manifest_bytes, signature })
}

fn advert() -> impl Strategy<Value = Advert> {
    (client(), any::<[[u8; 32]; 3]>(), any::<Option<[u8; 32]>>(), any::<[u8; 64]>()).prop_map(
        |(id, [ek_pub, mk_pub, commitment], noise, signature)| Advert {
            id,
            ek_pub,
            mk_pub,
            commitment,
            noise,
            signature,
        },
    )
}

fn commitments() -> impl Strategy<Value = ShareCommitments> {
    (any::<[u8; 32]>(), any::<[u8; 32]>(), vec(any::<[u8; 32]>(), 0..9))
        .prop_map(|(round_seed, self_mask, noise)| ShareCommitments { round_seed, self_mask, noise })
}

fn ciphertext() -> impl Strategy<Value = Vec<u8>> {
    (0..9_usize).prop_flat_map(|links| vec(any::<u8>(), sealed_share_bytes(links)))
}

fn sealed_share() -> impl Strategy<Value = SealedShare> {
    let ciphertext = prop_oneof![Just(Vec::new()), ciphertext()];
    (client(), ciphertext, commitments()).prop_map(|(recipient, ciphertext, commitments)| SealedShare {
        recipient,
        ciphertext,
        commitments,
    })
}

fn signed_root() -> impl Strategy<Value = SignedRoot> {
    (client(), any::<[u8; 32]>(), any::<[u8; 64]>()).prop_map(|(id, merkle_root, signature)| SignedRoot {
        id,
        merkle_root,
        signature,
    })
}

fn delivered_share() -> impl Strategy<Value = DeliveredShare> {
    let path = vec(any::<[u8; 32]>(), 0..=limits::MERKLE_PATH_MAX);
    (client(), ciphertext(), commitments(), path).prop_map(
        |(sender, ciphertext, commitments, merkle_path)| DeliveredShare {
            sender,
            ciphertext,
            commitments,
            merkle_path,
        },
    )
}

fn included_signature() -> impl Strategy<Value = IncludedSignature> {
    (client(), any::<[u8; 64]>()).prop_map(|(id, signature)| IncludedSignature { id, signature })
}

fn opened_shares() -> impl Strategy<Value = Vec<OpenedShare>> {
    vec(opened_share(), 0..9)
}

fn opened_share() -> impl Strategy<Value = OpenedShare> {
    (client(), any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(|(owner, share, opening)| OpenedShare {
        owner,
        share,
        opening,
    })
}

fn complaint() -> impl Strategy<Value = Complaint> {
    let reason = prop_oneof![Just(ComplaintReason::Sealing), Just(ComplaintReason::Commitment)];
    (any::<[u8; 32]>(), client(), client(), reason, any::<[u8; 64]>()).prop_map(
        |(r1, accuser, accused, reason, signature)| Complaint {
            r1: R1(r1),
            accuser,
            accused,
            reason,
            signature,
        },
    )
}

fn text() -> impl Strategy<Value = String> {
    "[ -~é]{0,60}"
}

fn decline() -> impl Strategy<Value = Decline> {
    use CoordinatorFault::*;
    let faults =
        [Roster, Plan, Chain, Model, Cohort, Delivery, Equivocation, Included, UnmaskRequest, Quarantined];
    prop_oneof![
        (text(), text()).prop_map(|(code, text)| Decline::Policy { code, text }),
        Just(Decline::SitsOut),
        Just(Decline::Unavailable),
        prop::sample::select(faults.to_vec()).prop_map(Decline::CoordinatorFault),
    ]
}

fn round_outcome() -> impl Strategy<Value = RoundOutcome> {
    prop_oneof![
        Just(RoundOutcome::Committed),
        any::<(usize, usize)>().prop_map(|(got, need)| RoundOutcome::TooFewAdverts { got, need }),
        any::<(usize, usize)>().prop_map(|(got, need)| RoundOutcome::TooFewShares { got, need }),
        any::<(usize, usize)>().prop_map(|(got, need)| RoundOutcome::TooFewUploads { got, need }),
        any::<(usize, usize)>().prop_map(|(got, need)| RoundOutcome::TooFewSignatures { got, need }),
        any::<(usize, usize)>().prop_map(|(got, need)| RoundOutcome::TooFewUnmaskAnswers { got, need }),
        client().prop_map(|client| RoundOutcome::WrongSecret { client }),
        (client(), client()).prop_map(|(accuser, accused)| RoundOutcome::Complaint { accuser, accused }),
        text().prop_map(RoundOutcome::BadAggregate),
        any::<u64>().prop_map(|round| RoundOutcome::Quarantined { round }),
        any::<u64>().prop_map(|to_round| RoundOutcome::RolledBack { to_round }),
    ]
}

fn run_end() -> impl Strategy<Value = RunEnd> {
    prop_oneof![
        Just(RunEnd::Complete),
        Just(RunEnd::BudgetSpent),
        (any::<usize>(), any::<usize>(), text()).prop_map(|(willing, needed, first_reason)| {
            RunEnd::TooFewWilling { willing, needed, first_reason }
        }),
        (text(), text()).prop_map(|(by, reason)| RunEnd::Stopped { by, reason }),
    ]
}

fn rejection() -> impl Strategy<Value = Rejection> {
    prop_oneof![
        client().prop_map(Rejection::UnknownClient),
        (text(), text()).prop_map(|(message, phase)| Rejection::OutOfPhase { message, phase }),
        Just(Rejection::StaleAttempt),
        Just(Rejection::NotInCohort),
        Just(Rejection::Equivocation),
        text().prop_map(Rejection::Invalid),
        text().prop_map(Rejection::NotPossible),
    ]
}

fn an_advert() -> Advert {
    let key = [1; 32];
    Advert {
        id: ClientId(u32::MAX),
        ek_pub: key,
        mk_pub: key,
        commitment: key,
        noise: Some(key),
        signature: [1; 64],
    }
}

fn some_commitments(links: usize) -> ShareCommitments {
    ShareCommitments { round_seed: [1; 32], self_mask: [2; 32], noise: vec![[3; 32]; links] }
}

fn a_signed_root() -> SignedRoot {
    SignedRoot { id: ClientId(u32::MAX), merkle_root: [1; 32], signature: [1; 64] }
}

fn a_delivered_share(path: usize, links: usize) -> DeliveredShare {
    DeliveredShare {
        sender: ClientId(u32::MAX),
        ciphertext: vec![1; sealed_share_bytes(links)],
        commitments: some_commitments(links),
        merkle_path: vec![[1; 32]; path],
    }
}

fn a_bundle(shares: usize, links: usize) -> ShareBundle {
    let ciphertext = vec![1; sealed_share_bytes(links)];
    let share =
        SealedShare { recipient: ClientId(u32::MAX), ciphertext, commitments: some_commitments(links) };
    ShareBundle { sender: ClientId(u32::MAX), shares: vec![share; shares], signature: [1; 64] }
}

fn some_unmask_shares(count: usize) -> UnmaskShares {
    let share = OpenedShare { owner: ClientId(u32::MAX), share: [1; 32], opening: [2; 32] };
    UnmaskShares {
        id: ClientId(1),
        self_mask: vec![share.clone(); count],
        round_seed: vec![share.clone(); count],
        noise: vec![share; count],
    }
}
