//! The newest checkpoint with the cosignatures of witnesses.

use testing::assert_problem;

use crate::ReadSide;

#[tokio::test]
async fn the_newest_cosigned_checkpoint_is_served_as_it_was_stored() {
    const PATH: &str = "/api/events/checkpoint/cosigned";
    let read_side = ReadSide::start().await;
    assert_problem(read_side.get(PATH).await, 404, "not-cosigned").await;
    let note = "sales.example/log\n7\nroot\n\n— sales.example/log AAAAAAA=\n— witness.example/w1 AAAAAAA=\n";
    let insert = sqlx::query("insert into cosigned_checkpoint (position, note, submitted_at) values (7, $1, now())");
    insert.bind(note).execute(read_side.databases.read_model()).await.unwrap();
    let response = read_side.get(PATH).await;
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(response.text().await.unwrap(), note);
}
