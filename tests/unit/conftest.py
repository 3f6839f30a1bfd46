"""What holds for all unit tests."""

import yaml

# The same documents, parsed by libyaml: parsing in Python took a third of the suite's time.
vars(yaml)["SafeLoader"] = yaml.CSafeLoader
