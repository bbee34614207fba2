//! Statements of operators on the log.

use crate::ReadSide;

#[tokio::test]
async fn the_statements_are_served_as_they_were_stored() {
    let read_side = ReadSide::start().await;
    let served = async || read_side.get("/api/events/statements").await.text().await.unwrap();
    assert_eq!(served().await, "");
    let notes = [
        "sales.example/log statement\naccepted 1\n\n— k AAAAAAA=\n",
        "sales.example/log statement\naccepted 2\n\n— k AAAAAAA=\n",
    ];
    for note in notes {
        let insert = sqlx::query("insert into checkpoint_statement (note) values ($1)").bind(note);
        insert.execute(read_side.databases.read_model()).await.unwrap();
    }
    assert_eq!(served().await, notes.concat());
}
