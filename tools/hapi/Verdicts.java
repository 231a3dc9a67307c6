import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.validation.FhirValidator;
import ca.uhn.fhir.validation.ResultSeverityEnum;
import ca.uhn.fhir.validation.SingleValidationMessage;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Set;
import org.hl7.fhir.common.hapi.validation.support.CachingValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.CommonCodeSystemsTerminologyService;
import org.hl7.fhir.common.hapi.validation.support.InMemoryTerminologyServerValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.ValidationSupportChain;
import org.hl7.fhir.common.hapi.validation.validator.FhirDefaultPolicyAdvisor;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;
import org.hl7.fhir.r5.utils.validation.IResourceValidator;
import org.hl7.fhir.r5.utils.validation.IValidatorResourceFetcher;
import org.hl7.fhir.r5.utils.validation.constants.ReferenceValidationPolicy;

/**
 * HAPI's verdict on one resource per line of standard input (base64 of its JSON), one line out for each: tab-separated
 * fields "message id|severity|location|text in base64"; a crash is "!class||" and the line "!ready" comes first, after
 * the validator has been warmed up. CPU time in microseconds is the first field.
 */
public class Verdicts {
    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        System.setOut(System.err);
        FhirContext context = FhirContext.forR4();
        ValidationSupportChain chain = new ValidationSupportChain(
            new DefaultProfileValidationSupport(context),
            new CommonCodeSystemsTerminologyService(context),
            new InMemoryTerminologyServerValidationSupport(context));
        FhirValidator validator = context.newValidator();
        FhirInstanceValidator module = new FhirInstanceValidator(chain);
        module.setValidatorResourceFetcher(nothingElsewhere());
        module.setValidatorPolicyAdvisor(new FhirDefaultPolicyAdvisor() {
            @Override
            public ReferenceValidationPolicy policyForReference(
                    IResourceValidator asking, Object context, String path, String url) {
                return ReferenceValidationPolicy.CHECK_TYPE_IF_EXISTS;
            }
        });
        validator.registerValidatorModule(module);
        validator.validateWithResult("{\"resourceType\":\"Patient\"}");
        ThreadMXBean clock = ManagementFactory.getThreadMXBean();
        out.println("!ready");
        out.flush();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String resource = new String(Base64.getDecoder().decode(line), StandardCharsets.UTF_8);
            List<String> fields = new ArrayList<>();
            long start = clock.getCurrentThreadCpuTime();
            try {
                for (SingleValidationMessage message : validator.validateWithResult(resource).getMessages()) {
                    if (message.getSeverity().ordinal() >= ResultSeverityEnum.ERROR.ordinal()) {
                        fields.add(message.getMessageId() + "|" + message.getSeverity().getCode() + "|"
                            + message.getLocationString() + "|" + encoded(message.getMessage()));
                    }
                }
            } catch (Throwable crash) {
                fields.add("!" + crash.getClass().getSimpleName() + "|fatal||" + encoded(String.valueOf(crash.getMessage())));
            }
            fields.add(0, Long.toString((clock.getCurrentThreadCpuTime() - start) / 1000));
            out.println(String.join("\t", fields));
            out.flush();
        }
    }

    /** A fetcher that finds nothing: without one the validator crashes where it would ask. */
    private static IValidatorResourceFetcher nothingElsewhere() {
        return (IValidatorResourceFetcher) Proxy.newProxyInstance(
            Verdicts.class.getClassLoader(), new Class<?>[] {IValidatorResourceFetcher.class},
            (proxy, method, given) -> switch (method.getName()) {
                case "resolveURL" -> true;
                case "fetchesCanonicalResource" -> false;
                case "fetchCanonicalResourceVersions" -> Set.of();
                case "setLocale" -> proxy;
                default -> null;
            });
    }

    private static String encoded(String text) {
        return Base64.getEncoder().encodeToString(text.getBytes(StandardCharsets.UTF_8));
    }
}
