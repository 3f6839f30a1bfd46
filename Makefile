# Verbs only: scripts/run.py runs them, in an environment of their own.
.DEFAULT_GOAL := help
VERBS := help lab unbundle bundle policy load judge new catalogue verify latency telemetry open doctor diagnose explain docs destroy env test test-full lint unit bench lock
# Names of what was given to make, and not of what happens to be in the environment; their values are in the command's environment.
given = $(strip $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name))))

.PHONY: $(VERBS)
$(VERBS):
	@python3 -I scripts/run.py $@ $(given)
