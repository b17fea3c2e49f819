//! Whether Ed25519 signatures fit, one by one or many at once.
//!
//! The rules are those of ZIP 215, but for keys of small order, which are refused: the equation is checked times the cofactor,
//! 8·S·B = 8·R + 8·k·A, and S must be below the group's order. RFC 8032 allows that equation and the same without the 8, and
//! for what an honest signer makes there is no difference. For what a dishonest one can make there is: without the 8, many
//! signatures could fit together and not one by one. Two nodes would then judge one message differently, and one of them
//! would blame the other for passing it on.
//!
//! **Many at once**: each equation times a number that nobody can foresee, the sum of all. If any does not hold, the sum holds
//! with a chance of 2⁻¹²⁸. The numbers come from a hash of all that is checked, so that an author of bad signatures can't
//! choose them to fit; thus no source of randomness is needed. A sum that does not hold is halved until it is known which does not.
//! With 32 signatures of one author that takes a third of the time of looking at each, with 32 authors a half.

pub use super::claim::Claim;

/// Whether a signature is by the holder of a public key. Keys of small order, with which one signature could fit many
/// messages, are refused.
pub fn fits(claim: Claim<'_>) -> bool {
    which_fit(&[claim]).first() == Some(&true)
}

#[cfg(fuzzing)]
pub use super::cheap::which_fit;
#[cfg(not(fuzzing))]
pub use curve::which_fit;

#[cfg(not(fuzzing))]
mod curve {
    use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
    use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
    use curve25519_dalek::scalar::Scalar;
    use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};
    use sha2::{Digest, Sha512};

    use crate::wire::claim::{Claim, KEY};

    /// One equation: S·B = R + k·A.
    struct Equation<'a> {
        claim: &'a Claim<'a>,
        a: EdwardsPoint,
        r: EdwardsPoint,
        s: Scalar,
        k: Scalar,
        /// Its factor in a sum.
        times: Scalar,
    }

    /// Which of some signatures fit, in their order. The verdict on each is the same as if it were alone.
    pub fn which_fit(claims: &[Claim<'_>]) -> Vec<bool> {
        let mut equations: Vec<Option<Equation<'_>>> = claims.iter().map(Equation::new).collect();
        let mut all: Vec<&mut Equation<'_>> = equations.iter_mut().flatten().collect();
        if all.len() > 1 {
            multiply(&mut all);
        }
        let all: Vec<&Equation<'_>> = equations.iter().flatten().collect();
        let mut verdicts = Vec::with_capacity(all.len());
        judge(&all, &mut verdicts);
        let mut verdicts = verdicts.into_iter();
        equations.iter().map(|it| it.is_some() && verdicts.next() == Some(true)).collect()
    }

    impl<'a> Equation<'a> {
        /// `None` if the signature is none, whatever it is of.
        fn new(claim: &'a Claim<'a>) -> Option<Self> {
            let (r, s) = claim.signature.split_first_chunk::<KEY>()?;
            let s = Scalar::from_canonical_bytes(*s.first_chunk()?).into_option()?;
            let a = CompressedEdwardsY(*claim.public).decompress().filter(|a| !a.is_small_order())?;
            let hash = Sha512::new().chain_update(r).chain_update(claim.public).chain_update(claim.message).finalize();
            let r = CompressedEdwardsY(*r).decompress()?;
            Some(Self { claim, a, r, s, k: Scalar::from_bytes_mod_order_wide(&hash.into()), times: Scalar::ONE })
        }

        fn holds(&self) -> bool {
            let expected = EdwardsPoint::vartime_double_scalar_mul_basepoint(&self.k, &-self.a, &self.s);
            (expected - self.r).mul_by_cofactor().is_identity()
        }
    }

    /// Draws what the equations are multiplied by: 128 bits each.
    fn multiply(equations: &mut [&mut Equation<'_>]) {
        let parts = equations.iter().flat_map(|it| [&it.claim.public[..], &it.claim.signature[..], it.k.as_bytes()]);
        let hash = parts.fold(Sha512::new(), |hash, part| hash.chain_update(part)).finalize();
        let mut numbers = ChaCha20Rng::from_seed(std::array::from_fn(|i| hash.get(i).copied().unwrap_or_default()));
        for equation in equations {
            let (low, high) = (numbers.next_u64(), numbers.next_u64());
            equation.times = Scalar::from(u128::from(high) << 64 | u128::from(low));
        }
    }

    /// Appends for each equation whether it holds.
    fn judge(equations: &[&Equation<'_>], verdicts: &mut Vec<bool>) {
        match equations {
            [] => {}
            [one] => verdicts.push(one.holds()),
            all if sum_holds(all) => verdicts.extend(all.iter().map(|_| true)),
            all => {
                let (some, others) = all.split_at(all.len() / 2);
                judge(some, verdicts);
                judge(others, verdicts);
            }
        }
    }

    fn sum_holds(equations: &[&Equation<'_>]) -> bool {
        let mut base = Scalar::ZERO;
        // An author's terms are one.
        let mut authors: Vec<(&[u8; KEY], Scalar, &EdwardsPoint)> = Vec::new();
        for it in equations {
            base -= it.times * it.s;
            let times = it.times * it.k;
            match authors.iter_mut().find(|(public, ..)| *public == it.claim.public) {
                Some((_, sum, _)) => *sum += times,
                None => authors.push((it.claim.public, times, &it.a)),
            }
        }
        let terms = equations.iter().map(|it| (it.times, &it.r));
        let terms = terms.chain(authors.iter().map(|(_, sum, a)| (*sum, *a)));
        let (scalars, points): (Vec<Scalar>, Vec<&EdwardsPoint>) =
            terms.chain([(base, &ED25519_BASEPOINT_POINT)]).unzip();
        EdwardsPoint::vartime_multiscalar_mul(scalars, points).mul_by_cofactor().is_identity()
    }
}

#[cfg(test)]
mod tests;
