"""What holds for all unit tests."""

import yaml

# The same documents, parsed by libyaml: parsing them in Python took most of the time of tests that read all entries.
vars(yaml)["SafeLoader"] = yaml.CSafeLoader
