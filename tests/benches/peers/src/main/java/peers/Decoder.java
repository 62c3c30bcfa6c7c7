package peers;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** Reads `schemas/avro/reports.avsc` in single-object encoding, by hand and without garbage but the facility's code. */
final class Decoder {
    private static final VarHandle EIGHT = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);

    private final byte[] header;
    private byte[] bytes;
    private int at;

    /** The header is C3 01 and the fingerprint of the schema. */
    Decoder(byte[] header) { this.header = header; }

    /** False for bytes of another schema. A value that is no number, and a metric without rules, is left out. */
    boolean decode(byte[] message, Report report) {
        int start = header.length;
        if (message.length < start || !Arrays.equals(message, 0, start, header, 0, start)) return false;
        bytes = message;
        at = start;
        int length = (int) number();
        report.facility = new String(bytes, at, length, StandardCharsets.UTF_8);
        at += length;
        if (number() == 1) skip(); // device
        report.observedAt = number();
        number(); // received_at
        skip(); // origin
        if (number() == 1) number(); // sequence
        report.readings = 0;
        for (long items = number(); items != 0; items = number()) {
            if (items < 0) {
                items = -items;
                number(); // size of the block in bytes
            }
            for (; items > 0; items--) reading(report);
        }
        return true;
    }

    private void reading(Report report) {
        int length = (int) number(), metric = metric(at, length);
        at += length;
        long branch = number();
        if (branch == 0) {
            if (metric >= 0) report.add(metric, Double.longBitsToDouble((long) EIGHT.get(bytes, at)));
            at += 8;
        } else if (branch == 1) {
            skip();
        }
    }

    private int metric(int from, int length) {
        for (int metric = 0; metric < Rules.METRICS; metric++) {
            byte[] code = Rules.CODES[metric];
            if (code.length == length && code[0] == bytes[from] && Arrays.equals(bytes, from, from + length, code, 0, length)) return metric;
        }
        return -1;
    }

    private void skip() {
        int length = (int) number();
        at += length;
    }

    private long number() {
        long value = 0;
        for (int shift = 0; ; shift += 7) {
            byte next = bytes[at++];
            value |= (long) (next & 0x7f) << shift;
            if (next >= 0) return value >>> 1 ^ -(value & 1);
        }
    }
}
