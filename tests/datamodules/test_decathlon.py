def test_the_index_is_the_tasks(make_decathlon):
    data = make_decathlon()
    assert data.scheme.names == ("anterior", "posterior")
    assert dict(data.scheme.written) == {"anterior": 1, "posterior": 2}
    assert len(data.split.train) == len(data.split.val) == 2
    assert "fold 0" in data.scored_title
