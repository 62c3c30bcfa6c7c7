package peers;

import java.io.IOException;
import java.util.function.Supplier;
import org.apache.flink.api.common.serialization.SerializerConfig;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.base.TypeSerializerSingleton;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** A value that writes, reads and copies itself, so that Flink needs neither reflection nor Kryo for it. */
interface Plain<T> {
    void write(DataOutputView out) throws IOException;

    void read(DataInputView in) throws IOException;

    void copyOf(T other);

    /** What Flink asks of a type, for reports and facilities. */
    static <T extends Plain<T>> TypeInformation<T> type(Class<T> type, TypeSerializer<T> serializer) {
        return new TypeInformation<>() {
            @Override public boolean isBasicType() { return false; }
            @Override public boolean isTupleType() { return false; }
            @Override public int getArity() { return 1; }
            @Override public int getTotalFields() { return 1; }
            @Override public Class<T> getTypeClass() { return type; }
            @Override public boolean isKeyType() { return false; }
            @Override public TypeSerializer<T> createSerializer(SerializerConfig config) { return serializer; }
            @Override public String toString() { return type.getSimpleName(); }
            @Override public boolean equals(Object other) { return other instanceof TypeInformation<?> t && t.getTypeClass() == type; }
            @Override public int hashCode() { return type.hashCode(); }
            @Override public boolean canEqual(Object other) { return other instanceof TypeInformation; }
        };
    }

    /** A serializer of such values. */
    abstract class Serializer<T extends Plain<T>> extends TypeSerializerSingleton<T> {
        private final transient Supplier<T> fresh;

        Serializer(Supplier<T> fresh) { this.fresh = fresh; }

        @Override public T createInstance() { return fresh.get(); }
        @Override public boolean isImmutableType() { return false; }
        @Override public int getLength() { return -1; }
        @Override public T copy(T from) { return copy(from, createInstance()); }
        @Override public T copy(T from, T reused) { reused.copyOf(from); return reused; }
        @Override public void serialize(T value, DataOutputView out) throws IOException { value.write(out); }
        @Override public T deserialize(DataInputView in) throws IOException { return deserialize(createInstance(), in); }
        @Override public T deserialize(T reused, DataInputView in) throws IOException { reused.read(in); return reused; }
        @Override public void copy(DataInputView in, DataOutputView out) throws IOException { serialize(deserialize(in), out); }
    }

    final class Reports extends Serializer<Report> {
        static final Reports ONE = new Reports();

        Reports() { super(Report::new); }

        private Object readResolve() { return ONE; }

        @Override public TypeSerializerSnapshot<Report> snapshotConfiguration() { return new Snapshot(); }

        public static final class Snapshot extends SimpleTypeSerializerSnapshot<Report> {
            public Snapshot() { super(() -> ONE); }
        }
    }

    final class Facilities extends Serializer<Facility> {
        static final Facilities ONE = new Facilities();

        Facilities() { super(Facility::new); }

        private Object readResolve() { return ONE; }

        @Override public TypeSerializerSnapshot<Facility> snapshotConfiguration() { return new Snapshot(); }

        public static final class Snapshot extends SimpleTypeSerializerSnapshot<Facility> {
            public Snapshot() { super(() -> ONE); }
        }
    }
}
