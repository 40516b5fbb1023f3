use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::tokens::testing::*;

#[test]
fn the_two_kinds_have_the_types_of_the_standards() {
    for kind in [TokenKind::Access, TokenKind::Transaction] {
        assert_eq!(TokenKind::of_typ(kind.typ()), Some(kind));
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.typ());
    }
    for typ in ["JWT", "at+JWT", "service+jwt", "application/at+jwt", ""] {
        assert_eq!(TokenKind::of_typ(typ), None, "{typ}");
    }
}

#[test]
fn an_answer_holds_the_claims_or_nothing() {
    let claims = json!({"iss": ISSUER, "sub": "a", "client_id": "a", "aud": "b", "exp": 2, "iat": 1, "jti": "c", "scope": "d e"});
    let response = IntrospectionResponse::active(serde_json::from_value(claims.clone()).unwrap());
    let expected = changed(&claims, &json!({"active": true, "token_type": "Bearer"}));
    assert_eq!(serde_json::to_value(response).unwrap(), expected);
    assert_eq!(serde_json::to_value(IntrospectionResponse::inactive()).unwrap(), json!({"active": false}));
}

proptest! {
    #[test]
    fn claims_are_read_as_they_were_written(
        sub in "\\PC{0,20}", scopes in proptest::collection::btree_set("[a-z.]{1,8}", 0..4), actors in 0usize..16,
        foreign: bool, exp: i64,
    ) {
        let act = (0..actors).fold(None, |act: Option<Actor>, n| Some(Actor { sub: n.to_string(), act: act.map(Box::new) }));
        let claims = Claims {
            iss: ISSUER.to_owned(), client_id: sub.clone(), aud: sub.clone(), exp, iat: 0, jti: sub.clone(),
            scope: scopes.into(), act, cnf: Some(Confirmation { x5t_s256: sub.clone() }),
            sub_id: foreign.then(|| SubjectId { iss: LOGIN.to_owned(), sub: sub.clone() }),
            txn: Some(sub.clone()), purp: None, tctx: json!({"a": [1.5, null]}).as_object().cloned(), rctx: None, req_wl: None,
            sub,
        };
        prop_assert_eq!(claims.actors().count(), actors);
        prop_assert_eq!(serde_json::from_value::<Claims>(json_of(&claims)).unwrap(), claims);
    }

    #[test]
    fn arbitrary_json_is_no_claims(text in "\\PC{0,60}") {
        prop_assert!(serde_json::from_str::<Claims>(&text).is_err());
    }
}
