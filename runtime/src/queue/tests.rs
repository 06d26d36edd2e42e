use super::*;

#[tokio::test(start_paused = true)]
async fn a_key_added_twice_has_one_turn() {
    let queue = Queue::new("test");
    queue.add("a");
    queue.add("a");
    queue.add("b");
    assert_eq!(queue.len(), 2);
    assert_eq!((queue.next().await, queue.next().await), ("a", "b"));
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_key_added_during_its_turn_waits_for_the_end_of_it() {
    let queue = Queue::new("test");
    queue.add("a");
    let key = queue.next().await;
    queue.add("a");
    assert!(queue.is_empty());
    queue.done(&key);
    assert_eq!(queue.next().await, "a");
}

#[tokio::test(start_paused = true)]
async fn the_earliest_delay_holds() {
    let queue = Queue::new("test");
    let start = Instant::now();
    queue.add_after("a", Duration::from_secs(9));
    queue.add_after("a", Duration::from_secs(3));
    queue.add_after("a", Duration::from_secs(6));
    assert_eq!(queue.next().await, "a");
    assert_eq!(start.elapsed().as_secs(), 3);
    queue.done(&"a");
    assert!(tokio::time::timeout(Duration::from_secs(60), queue.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_new_keys_only() {
    let queue = Queue::with_capacity("test", 1);
    assert!(queue.add("a"));
    assert!(queue.add("a"));
    assert!(!queue.add("b"));
}

#[test]
fn retries_double_up_to_a_limit() {
    for (failures, millis) in [(1, 5), (2, 10), (3, 20), (11, 5120), (40, 60_000)] {
        assert_eq!(retry_delay(failures, 1.0).as_millis(), millis, "{failures}");
    }
}

#[tokio::test(start_paused = true)]
async fn failed_and_panicked_keys_come_back() {
    let queue = Queue::new("test");
    let shutdown = CancellationToken::new();
    let turns = Arc::new(Mutex::new(0));
    queue.add("a");
    let reconcile = {
        let (turns, shutdown) = (turns.clone(), shutdown.clone());
        move |_| {
            let mut turns = turns.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *turns += 1;
            let turn = *turns;
            let shutdown = shutdown.clone();
            async move {
                match turn {
                    1 => Err("no"),
                    2 => panic!("worse"),
                    _ => {
                        shutdown.cancel();
                        Ok(Action::Done)
                    }
                }
            }
        }
    };
    run(queue, 2, reconcile, shutdown).await;
    assert_eq!(*turns.lock().unwrap(), 3);
}
