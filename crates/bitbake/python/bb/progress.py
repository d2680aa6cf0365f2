"""How far something is."""

import re

import bb


class ProgressHandler:
    """Passes text on and reports the progress it tells of."""

    def __init__(self, d, outfile=None):
        self._data = d
        self._outfile = outfile
        self._last = None

    def write(self, string):
        if self._outfile is not None:
            self._outfile.write(string)

    def flush(self):
        if self._outfile is not None:
            self._outfile.flush()

    def update(self, progress, rate=None):
        if progress != self._last:
            self._last = progress
            bb.event.fire(bb.build.TaskProgress(progress, rate), self._data)


class PercentHandler(ProgressHandler):
    """Text with percentages in it."""

    def __init__(self, d, regex=None, outfile=None):
        super().__init__(d, outfile)
        self._regex = re.compile(regex or r"(\d+)%")

    def write(self, string):
        found = self._regex.findall(string)
        if found:
            self.update(int(found[-1]))
        super().write(string)


class OutOfProgressHandler(ProgressHandler):
    """Text with `done of total` in it."""

    def __init__(self, d, regex, outfile=None):
        super().__init__(d, outfile)
        self._regex = re.compile(regex)

    def write(self, string):
        found = self._regex.findall(string)
        if found:
            done, total = found[-1][-2:]
            self.update(float(done) / float(total) * 100)
        super().write(string)


class MultiStageProgressReporter:
    """Progress of work that has weighted stages."""

    def __init__(self, d, stage_weights, debug=False):
        total = sum(stage_weights)
        self._data = d
        self._weights = [weight / total for weight in stage_weights]
        self._stage = -1
        self._done = 0.0

    def _fire(self, part):
        at = self._weights[self._stage] if 0 <= self._stage < len(self._weights) else 0
        bb.event.fire(bb.build.TaskProgress(int((self._done + at * part) * 100)), self._data)

    def next_stage(self, stage_total=None):
        if 0 <= self._stage < len(self._weights):
            self._done += self._weights[self._stage]
        self._stage += 1
        self._total = stage_total or 100
        self._fire(0)

    def update(self, stage_progress):
        self._fire(min(stage_progress / self._total, 1))

    def finish(self):
        self._done, self._stage = 1.0, len(self._weights)
        self._fire(0)


class MultiStageProcessProgressReporter(MultiStageProgressReporter):
    def __init__(self, d, processname, stage_weights, debug=False):
        self._processname = processname
        bb.event.fire(bb.event.ProcessStarted(processname, 100), d)
        super().__init__(d, stage_weights, debug)

    def _fire(self, part):
        at = self._weights[self._stage] if 0 <= self._stage < len(self._weights) else 0
        progress = int((self._done + at * part) * 100)
        bb.event.fire(bb.event.ProcessProgress(self._processname, progress), self._data)

    def finish(self):
        super().finish()
        bb.event.fire(bb.event.ProcessFinished(self._processname), self._data)


class DummyMultiStageProcessProgressReporter:
    """The same calls, to no effect."""

    def next_stage(self, stage_total=None):
        pass

    def update(self, stage_progress):
        pass

    def finish(self):
        pass
