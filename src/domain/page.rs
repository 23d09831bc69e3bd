//! Pages of lists. A page names the position of its last item, after which the next page begins, so that items which
//! are added or removed in the meantime neither repeat nor hide others.

use serde::Serialize;
use utoipa::ToSchema;

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// The position after which the next page begins; `null` after the last page.
    #[schema(required)]
    pub next: Option<String>,
}

/// A part of the list of a webhook's held or failed deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct KeptPage<T> {
    /// The deliveries, in the list's order.
    pub items: Vec<T>,
    /// The position after which the next page begins; `null` after the last page.
    #[schema(required)]
    pub next: Option<String>,
    /// The number of all deliveries that are kept, on this page or not.
    pub total: u64,
    /// The time since which the oldest of them is kept (RFC 3339, UTC, ms); `null` if there are none.
    #[schema(required)]
    pub oldest: Option<String>,
}

/// The error for a text that is no position of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no position in the list: give the `next` of the page before, or none")]
pub struct NotAPosition;

impl<T> Page<T> {
    /// At most `limit` of `items`, whose positions `position` gives. It takes one item more to know that a page follows.
    pub fn first(items: impl IntoIterator<Item = T>, limit: usize, position: impl Fn(&T) -> String) -> Self {
        let mut rest = items.into_iter();
        let items: Vec<T> = rest.by_ref().take(limit).collect();
        let next = rest.next().and_then(|_| items.last().map(position));
        Self { items, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_a_next_one_only_if_items_are_left() {
        let page = |limit| Page::first(1..=3, limit, i32::to_string);
        assert_eq!(page(2), Page { items: vec![1, 2], next: Some("2".to_owned()) });
        assert_eq!(page(3), Page { items: vec![1, 2, 3], next: None });
        assert_eq!(page(4), Page { items: vec![1, 2, 3], next: None });
    }
}
