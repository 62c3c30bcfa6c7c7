package peers;

import java.nio.charset.StandardCharsets;

/** The metrics, their four tests, and the checksum: `reference/rules.rs` on our side does exactly this. */
final class Rules {
    private Rules() {}

    static final int RANGE = 1, SPIKE = 2, RATE = 4, FLAT = 8;

    static final byte[][] CODES = codes("supply_temp", "return_temp", "flow", "heat_power", "heat_total", "supply_pressure");
    static final int METRICS = CODES.length;

    private static final double[] LEAST = {0, 0, 0, -10, 0, 0};
    private static final double[] MOST = {130, 100, 500, 2000, 1e9, 25};
    private static final double[] SPIKE_ABOVE = {15, 15, 60, 250, 1e9, 3};
    private static final double[] RATE_PER_SECOND = {0.5, 0.5, 2, 8, 100, 0.1};
    /** Equal values in a row that count as stuck. */
    private static final int[] STUCK = {12, 12, 12, 12, Integer.MAX_VALUE, 12};

    private static byte[][] codes(String... names) {
        byte[][] codes = new byte[names.length][];
        for (int i = 0; i < names.length; i++) codes[i] = names[i].getBytes(StandardCharsets.UTF_8);
        return codes;
    }

    /** Tests a value against those before it, which it then joins; gives the tests that it fails. */
    static int check(Facility facility, int metric, long at, double value) {
        if (!(value >= LEAST[metric] && value <= MOST[metric])) return RANGE;
        double[] before = facility.before;
        int[] counts = facility.counts;
        int one = 2 * metric, two = one + 1, known = counts[two], failed = 0;
        if (known == 0) {
            counts[one] = 1;
        } else {
            long passed = at - facility.at[metric];
            if (passed <= 0) return 0; // out of order: there is nothing to compare with
            if (known == 2 && Math.abs(before[one] - (before[two] + value) / 2) > SPIKE_ABOVE[metric]) failed |= SPIKE;
            if (Math.abs(value - before[one]) * 1000 > RATE_PER_SECOND[metric] * passed) failed |= RATE;
            counts[one] = value == before[one] ? counts[one] + 1 : 1;
            if (counts[one] >= STUCK[metric]) failed |= FLAT;
        }
        before[two] = before[one];
        before[one] = value;
        facility.at[metric] = at;
        if (known < 2) counts[two] = known + 1;
        return failed;
    }

    /** FNV-1a of the code, 64 bit. */
    static long hash(String code) {
        long hash = 0xcbf29ce484222325L;
        for (byte b : code.getBytes(StandardCharsets.UTF_8)) hash = (hash ^ (b & 0xff)) * 0x100000001b3L;
        return hash;
    }

    /** What a row adds to the checksum. */
    static long checksum(Window window, int metric) {
        long sum = mix(window.hash, metric);
        sum = mix(sum, window.start);
        sum = mix(sum, window.counts[2 * metric] | (long) window.counts[2 * metric + 1] << 32);
        for (int i = 3 * metric; i < 3 * metric + 3; i++) sum = mix(sum, Double.doubleToRawLongBits(window.values[i]));
        return sum ^ sum >>> 32;
    }

    private static long mix(long sum, long part) {
        return (Long.rotateLeft(sum, 5) ^ part) * 0x517cc1b727220a95L;
    }
}
