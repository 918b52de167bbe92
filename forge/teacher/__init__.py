"""Asking a larger model: prompt files and values in, questions out; answers in, what they said and what they took out.

Who answers is behind `forge.seams.Teacher` (`forge.endpoint.teacher`). Nothing in forge needs one: without a teacher
everything is told from structure alone. Never used in a rollout.
"""
