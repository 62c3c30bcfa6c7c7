package peers;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;
import java.util.Properties;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.KeyedStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;

/**
 * The reference job on Flink in a local cluster: `Main BROKERS TOPIC HEADER CHECKPOINTS`, the header in hex, the
 * checkpoints as a URI. Every line on the standard input, `keyed|unkept WINDOW_S WORKERS CHECKPOINT_S SHARE`, runs a
 * pass over that share of the topic (0 to 1) and answers with one line of JSON; the passes share one JVM, so later ones
 * are warm.
 */
public final class Main {
    private static final Duration LATENESS = Duration.ofMinutes(1);

    private Main() {}

    public static void main(String[] args) throws Exception {
        var commands = new BufferedReader(new InputStreamReader(System.in));
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            String[] words = line.trim().split(" ");
            Totals.reset();
            pass(args, words[0], Long.parseLong(words[1]) * 1000, Integer.parseInt(words[2]), words[3], Double.parseDouble(words[4]));
            System.out.println(Totals.json());
            System.out.flush();
        }
        System.exit(0); // Flink leaves threads behind.
    }

    private static void pass(String[] args, String variant, long width, int workers, String checkpointSeconds, double share) throws Exception {
        String brokers = args[0], topic = args[1];
        var configuration = new Configuration();
        configuration.setString("state.backend.type", "hashmap");
        configuration.setString("pipeline.object-reuse", "true");
        configuration.setString("pipeline.generic-types", "true"); // rows, which are chained and never serialized
        if (!checkpointSeconds.equals("0")) {
            configuration.setString("execution.checkpointing.interval", checkpointSeconds + " s");
            configuration.setString("execution.checkpointing.storage", "filesystem");
            configuration.setString("execution.checkpointing.dir", args[3]);
            // The bounded job would wait for one more checkpoint at its end.
            configuration.setString("execution.checkpointing.checkpoints-after-tasks-finish", "false");
        }
        var environment = StreamExecutionEnvironment.createLocalEnvironment(workers, configuration);
        KafkaSource<Report> source = KafkaSource.<Report>builder()
                .setBootstrapServers(brokers)
                .setTopics(topic)
                .setGroupId("flink-peer")
                .setStartingOffsets(OffsetsInitializer.earliest())
                .setBounded(OffsetsInitializer.offsets(ends(brokers, topic, share)))
                .setProperty("check.crcs", "false")
                .setDeserializer(new Reports(HexFormat.of().parseHex(args[2])))
                .build();
        WatermarkStrategy<Report> watermarks = WatermarkStrategy.<Report>forBoundedOutOfOrderness(LATENESS)
                .withTimestampAssigner((report, time) -> report.observedAt);
        KeyedStream<Report, String> reports = environment.fromSource(source, watermarks, "reports").keyBy(report -> report.facility, Types.STRING);
        TypeInformation<Row> row = TypeInformation.of(Row.class);
        DataStream<Row> rows = variant.equals("keyed") ? reports.process(new Keyed(width), row) : reports.transform("unkept", row, new Unkept(width));
        rows.sinkTo(new Totals.Counting());
        environment.execute("reference " + variant);
    }

    /** The offsets at which a share of the topic ends. */
    private static Map<TopicPartition, Long> ends(String brokers, String topic, double share) throws IOException {
        var properties = new Properties();
        properties.put("bootstrap.servers", brokers);
        properties.put("key.deserializer", "org.apache.kafka.common.serialization.ByteArrayDeserializer");
        properties.put("value.deserializer", "org.apache.kafka.common.serialization.ByteArrayDeserializer");
        try (var consumer = new KafkaConsumer<byte[], byte[]>(properties)) {
            var partitions = consumer.partitionsFor(topic).stream().map(p -> new TopicPartition(topic, p.partition())).toList();
            var ends = new HashMap<TopicPartition, Long>();
            consumer.endOffsets(partitions).forEach((partition, end) -> ends.put(partition, (long) (end * share)));
            return ends;
        }
    }

    /** Decodes into one reused report. */
    private static final class Reports implements KafkaRecordDeserializationSchema<Report> {
        private final byte[] header;
        private transient Decoder decoder;
        private transient Report report;

        Reports(byte[] header) { this.header = header; }

        @Override public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Report> out) {
            if (decoder == null) {
                Totals.begun();
                decoder = new Decoder(header);
                report = new Report();
            }
            if (decoder.decode(record.value(), report)) out.collect(report);
            else Totals.bad.increment();
        }

        @Override public TypeInformation<Report> getProducedType() { return Plain.type(Report.class, Plain.Reports.ONE); }
    }
}
