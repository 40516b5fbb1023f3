//! Places for connections: as many as there is memory for, of which no address has more than its share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::limits::network;

/// The part of all places that one address may have: one of so many.
const SHARE: usize = 8;
/// As many it has in any case.
const LEAST: usize = 16;

/// All places.
pub(super) struct Places {
    free: Arc<Semaphore>,
    most: usize,
    /// How many each network has; none that has none.
    taken: Mutex<HashMap<u128, usize>>,
}

/// A place that nobody has yet.
pub(super) struct FreePlace(OwnedSemaphorePermit);

/// The place of one connection.
pub(super) struct Place {
    places: Arc<Places>,
    network: u128,
    _free: OwnedSemaphorePermit,
}

impl Places {
    /// So many.
    pub(super) fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), most: (count / SHARE).max(LEAST), taken: Mutex::default() }
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// Never: nobody closes it.
    pub(super) async fn free(&self) -> Result<FreePlace, AcquireError> {
        Arc::clone(&self.free).acquire_owned().await.map(FreePlace)
    }

    /// Gives a place to an address, unless it has its share already.
    pub(super) fn take(self: &Arc<Self>, free: FreePlace, address: IpAddr) -> Option<Place> {
        let network = network(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.get(&network).copied().unwrap_or_default();
        if count >= self.most {
            return None;
        }
        taken.insert(network, count + 1);
        Some(Place { places: Arc::clone(self), network, _free: free.0 })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(&self.network)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_has_its_share_leaves_the_rest_to_others() {
        let places = Arc::new(Places::new(256));
        let take = async |address: &str| {
            let free = places.free().await.unwrap();
            places.take(free, address.parse().unwrap())
        };
        let mut held = Vec::new();
        for number in 0..32 {
            held.push(take(&format!("2001:db8::{number:x}")).await.unwrap());
        }
        assert!(take("2001:db8::ffff").await.is_none(), "of the same network");
        assert!(take("2001:db8:0:1::1").await.is_some() && take("192.0.2.1").await.is_some());
        held.pop();
        assert!(take("2001:db8::ffff").await.is_some());
        held.clear();
        assert!(places.taken.lock().unwrap().is_empty(), "who has none is forgotten");
        assert_eq!(places.free.available_permits(), 256);
    }
}
