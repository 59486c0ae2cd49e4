"""May the candidate replace the champion? Same pictures, same run, intervals, slices, and the registry's aliases."""
