from medimg import keys

# What is no text, such as the index of ignored voxels, is no key of a batch.
NAMES = {name: value for name, value in vars(keys).items() if name.isupper() and isinstance(value, str)}


def test_every_key_has_one_name():
    assert len(set(NAMES.values())) == len(NAMES)
    assert all(value == name.lower() for name, value in NAMES.items())


def test_the_keys_that_users_write_data_sets_for():
    assert {"image", "mask", "label", "case_id", "patient_id", "spacing", "weight"} <= set(NAMES.values())
