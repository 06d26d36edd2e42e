//! The contract of [`skiff_storage::Storage`], held against every store.
//!
//! A new store gets a [`bed::Bed`] and one line of `contract!` at the end of this file.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

#[allow(dead_code, reason = "what the API server's tests need besides")]
mod bed;
mod compaction;
mod compactors;
mod history;
mod model;
mod paging;
mod restart;
mod watches;
mod writes;

/// Makes one module of tests for a store: each runs on a fresh one.
macro_rules! contract {
    ($store:ident: $bed:ty) => {
        mod $store {
            contract!(@ $bed;
                compaction::forgets_the_past_and_keeps_the_present,
                compaction::again_is_no_error_and_of_the_future_is_one,
                compaction::never_leaves_a_gap_in_a_watch,
                paging::pages_show_one_revision_while_keys_change,
                paging::every_past_revision_can_be_listed,
                paging::the_future_is_refused,
                paging::prefixes_end_where_their_keys_end,
                writes::each_expectation_holds_or_tells_what_is_there,
                writes::revisions_rise_by_one_a_write,
                writes::one_of_many_wins,
                writes::large_values_come_back_whole,
                writes::values_end_after_their_time_and_not_before,
                watches::tell_all_that_came_after_their_beginning,
                watches::begin_at_once_or_are_refused,
                watches::tell_values_before_and_after,
                watches::deliver_each_change_once_and_in_order,
                watches::quiet_ones_are_told_how_far_the_store_is,
                watches::a_question_for_progress_is_answered_whenever_it_comes,
                watches::slow_ones_lose_nothing_or_end,
            );

            #[tokio::test(flavor = "multi_thread")]
            async fn restart_loses_nothing() {
                crate::restart::loses_nothing(<$bed as crate::bed::Bed>::start().await).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn restart_lets_watches_go_on() {
                crate::restart::lets_watches_go_on(<$bed as crate::bed::Bed>::start().await).await;
            }

            #[test]
            fn model_and_store_agree() {
                crate::model::agrees_with::<$bed>();
            }
        }
    };
    (@ $bed:ty; $($file:ident::$name:ident,)*) => { $(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            let bed = <$bed as crate::bed::Bed>::start().await;
            crate::$file::$name(crate::bed::Bed::store(&bed)).await;
        }
    )* };
}

contract!(embedded: crate::bed::EmbeddedBed);
contract!(etcd: crate::bed::EtcdBed);
