//! The services that most stories are about.

use ringfence_core::tokens::Directory;

use super::{Client, Domain, Installation, Member, Replica, directory, grant};

/// An installation in which `order` may call `payment`, and `stranger` nobody.
pub struct Shop {
    pub sts: Installation,
    pub domain: Domain,
    pub order: Member,
    pub payment: Member,
    pub stranger: Member,
    /// What the operator has written of them.
    pub directory: Directory,
}

impl Shop {
    /// Opens one.
    pub async fn open(title: &str) -> Self {
        let sts = Installation::begin(title).await;
        let domain = Domain::new("shop.example");
        let [order, payment, stranger] = ["order", "payment", "stranger"].map(|name| domain.member("shop", name));
        let mut directory = directory("shop", &domain, &[&order, &payment, &stranger]);
        directory.grants.push(grant(&order, &payment));
        sts.publish(&directory).await;
        Self { sts, domain, order, payment, stranger, directory }
    }

    /// A client that shows a member's certificate.
    pub fn client(&self, replica: &Replica, member: &Member) -> Client {
        Client::of(&self.sts, replica, member)
    }

    /// A client that shows none.
    pub fn anonymous(&self, replica: &Replica) -> Client {
        Client::anonymous(&self.sts, replica)
    }

    /// A token of `order` for `payment`.
    pub async fn token(&self, replica: &Replica) -> String {
        let answer = self.client(replica, &self.order).client_credentials(&self.payment.audience(), &[]).await;
        answer.token().to_owned()
    }

    /// Whether `payment` is told that a token is good.
    pub async fn is_active(&self, replica: &Replica, token: &str) -> bool {
        let answer = self.client(replica, &self.payment).post("/introspect", &[("token", token)]).await;
        answer.json["active"].as_bool().unwrap_or_else(|| panic!("no answer: {answer:?}"))
    }
}
